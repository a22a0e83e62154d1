//! The seeds of the target, from steps with names.

/// Ways of sending: by the engine, with the next turn, in two parts of a frame, in two fragments.
const ENGINE: u8 = 0;
const QUEUED: u8 = 3;
const CUT: u8 = 5;
const FRAGMENTS: u8 = 6;

/// Commands of a message, each with an argument.
const SUBSCRIBE: u8 = 0;
const SUBSCRIBE_AFTER: u8 = 2;
const UNSUBSCRIBE: u8 = 3;
const PUBLISH: u8 = 4;
const PUBLISH_MANY: u8 = 6;
const REPORT_MISSED: u8 = 7;
const OWN_HANDLE: u8 = 8;
const HANDLE_AND_PUBLISH: u8 = 9;
const OTHER_HANDLE: u8 = 10;
const PAUSE: u8 = 12;
const SEND_MANY: u8 = 13;
const ANSWER_LONG: u8 = 14;
/// Raw mode: leaves the answer without its last fragment. Else: publishes a moment later.
const LEAVE_OPEN: u8 = 15;
const CLOSE_BY_HANDLE: u8 = 253;
const CLOSE: u8 = 254;
const PANIC: u8 = 255;

/// Routes, and what a client offers.
const ECHO: u8 = 0;
const TOPIC: u8 = 1;
const SESSION: u8 = 5;
const SPLIT: u8 = 7;
const SILENT: u8 = 8;
const RAW: u8 = 9;
const PANICKING: u8 = 11;
const COMPRESSED: u8 = 32;
const TAKEOVER: u8 = 48;

/// Limits, capacities of connections, and no Pings, as the first byte has them.
const PAUSES_SOON: u8 = 1;
const DEFAULT_LIMITS: u8 = 2;
const FEW: u8 = 3;
const NARROW: u8 = 8;
const NO_PINGS: u8 = 16;
const OWN_WINDOWS: u8 = 32;

/// A case as it is written.
struct Case(Vec<u8>);

impl Case {
    fn new(choice: u8) -> Self {
        Self(vec![choice, 7])
    }

    fn step(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn connect(self, routes: &[u8]) -> Self {
        routes.iter().fold(self, |case, &route| case.step(&[0, route]))
    }

    fn send(self, connection: u8, way: u8, size: u8, commands: &[[u8; 2]]) -> Self {
        let count = commands.len() as u8;
        self.step(&[4, connection, way + 8 * count, size]).step(&commands.concat())
    }

    fn command(self, connection: u8, commands: &[[u8; 2]]) -> Self {
        self.send(connection, ENGINE, 0, commands)
    }

    fn flood(self, connection: u8, count: u8, command: [u8; 2]) -> Self {
        self.step(&[9, connection, count]).step(&command)
    }

    fn all(self, command: [u8; 2]) -> Self {
        self.step(&[10, command[0], command[1]]).step(&[30])
    }

    fn publish(self, topic: u8, size: u8) -> Self {
        self.step(&[17, topic + 4 * size])
    }

    fn publish_many(self, topic: u8, count: u8) -> Self {
        self.step(&[20, topic, count])
    }

    fn stall(self, connection: u8) -> Self {
        self.step(&[11, 0, connection])
    }

    fn read_on(self, connection: u8) -> Self {
        self.step(&[13, connection])
    }

    fn leave(self, way: u8, connection: u8) -> Self {
        self.step(&[14, way, connection])
    }

    fn handle(self, choice: u8, to: u8, more: u8) -> Self {
        self.step(&[21, choice, to - 1, more])
    }

    fn advance(self, time: u8) -> Self {
        self.step(&[26, time])
    }
}

/// Names and bytes of all seeds.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let case = Case::new;
    let sizes = |case: Case, connection| {
        (0..24).fold(case, |case, at| case.send(connection, at / 8 * 3, at, &[]))
    };
    let echo = case(OWN_WINDOWS).connect(&[ECHO, ECHO + COMPRESSED, ECHO + TAKEOVER]);
    let echo = (0..3).fold(echo, sizes);
    let echo = echo.send(0, CUT, 5, &[]).send(1, FRAGMENTS, 6, &[]).send(0, QUEUED, 0, &[]).flood(
        2,
        50,
        [0, 0],
    );

    let topics = case(0).step(&[3, 5]);
    let topics = (0..4).fold(topics, |case, topic| case.all([SUBSCRIBE, topic]));
    let topics = topics
        .all([PUBLISH, 0])
        .all([PUBLISH, 5])
        .all([PUBLISH_MANY, 7])
        .publish(0, 3)
        .publish(2, 4)
        .command(1, &[[UNSUBSCRIBE, 0], [PUBLISH, 0], [SUBSCRIBE_AFTER, 0]])
        .command(2, &[[PUBLISH, 0], [UNSUBSCRIBE, 0], [PUBLISH, 0]])
        .all([LEAVE_OPEN, 10])
        .advance(6)
        .publish_many(3, 20);

    let cohort = |topic| {
        let members =
            case(NARROW).connect(&[TOPIC + TAKEOVER; 4]).connect(&[RAW + TAKEOVER, TOPIC]);
        let members = members.all([SUBSCRIBE, topic]).publish_many(topic, 12).step(&[30]);
        let stalled =
            (0..3).fold(members.stall(1), |case, _| case.publish_many(topic, 60).step(&[30]));
        stalled.read_on(1).publish_many(topic, 20).all([REPORT_MISSED, 0]).publish_many(topic, 20)
    };
    let skipping =
        case(PAUSES_SOON + NARROW).connect(&[TOPIC, TOPIC, SESSION, SPLIT]).all([SUBSCRIBE, 1]);
    let skipping = (0..4).fold(skipping, |case, connection| {
        case.stall(connection)
            .publish_many(1, 50)
            .step(&[30])
            .step(&[12, 40, connection])
            .publish(1, 4)
    });
    let skipping = (0..4).fold(skipping, Case::read_on);
    let slow = case(NARROW).connect(&[TOPIC]).all([SUBSCRIBE, 0]).stall(0);
    let slow =
        (0..40).fold(slow, |case, _| case.publish(0, 5).step(&[30])).publish(0, 6).read_on(0);

    let sessions = case(NO_PINGS)
        .connect(&[SESSION, SPLIT, SESSION + TAKEOVER])
        .all([SUBSCRIBE, 2])
        .flood(0, 40, [PAUSE, 30])
        .flood(1, 59, [SEND_MANY, 16])
        .command(2, &[[ANSWER_LONG, 7], [PUBLISH, 2], [PAUSE, 200]])
        .stall(1)
        .flood(1, 59, [ANSWER_LONG, 4])
        .advance(7)
        .read_on(1)
        .command(0, &[[CLOSE, 0]])
        .command(1, &[[CLOSE_BY_HANDLE, 0]])
        .command(2, &[[PANIC, 0]]);
    let silent = case(0).connect(&[SILENT, SILENT]).send(0, QUEUED, 7, &[]).send(0, QUEUED, 7, &[]);
    let silent = silent.send(0, QUEUED, 7, &[]).step(&[30]).handle(0, 1, 8).advance(8).send(
        1,
        ENGINE,
        7,
        &[],
    );

    let raw = case(NARROW).connect(&[RAW, RAW + TAKEOVER, TOPIC]).all([SUBSCRIBE, 0]);
    let raw = raw
        .command(0, &[[LEAVE_OPEN, 0]])
        .publish_many(0, 5)
        .step(&[30])
        .handle(0, 1, 8)
        .command(0, &[[PUBLISH, 0], [REPORT_MISSED, 0]])
        .command(0, &[[LEAVE_OPEN, 0]])
        .publish_many(0, 5)
        .command(0, &[[REPORT_MISSED, 0]])
        .send(1, FRAGMENTS, 5, &[])
        .command(1, &[[PUBLISH, 0], [LEAVE_OPEN, 0]])
        .publish(0, 2)
        .leave(0, 1)
        .command(0, &[[UNSUBSCRIBE, 0], [LEAVE_OPEN, 0]])
        .leave(2, 0);

    let ended =
        case(0).connect(&[TOPIC, SESSION, RAW]).handle(13, 1, 4).handle(13, 2, 4).leave(2, 2);
    let ended =
        (0..16).fold(ended, |case, choice| case.handle(choice, 1 + choice % 3, 9)).advance(7);
    let orders = case(0).connect(&[TOPIC, TOPIC, SESSION]).all([SUBSCRIBE, 0]).all([SUBSCRIBE, 1]);
    let orders = orders
        .handle(8, 1, 0)
        .handle(10, 2, 1)
        .command(0, &[[HANDLE_AND_PUBLISH, 0], [PUBLISH, 1], [OWN_HANDLE, 0]])
        .command(1, &[[OTHER_HANDLE, 0], [PUBLISH, 1], [PUBLISH, 0]])
        .all([HANDLE_AND_PUBLISH, 1])
        .handle(14, 2, 4);

    let last = case(0).connect(&[TOPIC, TOPIC, SESSION, RAW]).all([SUBSCRIBE, 0]);
    let last =
        (0..4).fold(last, |case, connection| case.command(connection, &[[PUBLISH, 0], [CLOSE, 0]]));

    let panics = (0..6).fold(
        case(PAUSES_SOON + NARROW).connect(&[TOPIC]).all([SUBSCRIBE, 0]),
        |case, place| {
            let case = case
                .connect(&[PANICKING + 16 * place])
                .send(1, ENGINE, 5, &[[ANSWER_LONG, 5]])
                .publish(0, 3);
            case.leave(0, 1)
        },
    );
    let deciding = (0..=255).step_by(17).fold(case(0), |case, how| case.step(&[27, how]));
    let deciding = deciding.advance(7).step(&[27, 3]).advance(10).send(0, ENGINE, 5, &[]);
    let rules = (0..12).fold(case(0), |case, rule| {
        case.connect(&[rule]).step(&[15, rule, 0x81, 0xfe, 0, rule]).publish(0, 0)
    });
    let garbage = (0..4).fold(rules, |case, what| case.step(&[29, what, b'G', b'E'])).advance(10);
    let gone =
        case(NARROW).connect(&[TOPIC, SESSION, RAW, ECHO, TOPIC + TAKEOVER]).all([SUBSCRIBE, 0]);
    let gone = (0..4).fold(gone, |case, connection| {
        case.stall(connection)
            .send(connection, QUEUED, 7, &[[PUBLISH, 16]])
            .leave(connection, connection)
            .publish(0, 5)
    });
    let few = case(FEW)
        .step(&[3, 39])
        .step(&[3, 39])
        .all([SUBSCRIBE, 3])
        .leave(3, 0)
        .connect(&[TOPIC, ECHO]);
    let clock =
        case(0).connect(&[TOPIC, SESSION, ECHO, RAW]).step(&[28, 0, 0]).stall(1).step(&[28, 0, 1]);
    let clock =
        [3, 4, 5, 11, 12, 13, 14, 15].into_iter().fold(clock, Case::advance).connect(&[ECHO]);
    let stop =
        case(NARROW).connect(&[TOPIC, SESSION, ECHO, RAW, TOPIC]).all([SUBSCRIBE, 0]).stall(0);
    let stop =
        stop.step(&[28, 1, 1]).publish_many(0, 50).step(&[27, 200]).step(&[31, 0]).publish(0, 4);
    let stop = stop.handle(0, 3, 4).advance(3).read_on(0).advance(8);

    let pairs =
        case(0).step(&[3, 39]).all([SUBSCRIBE, 0]).step(&[10, PUBLISH, 0]).all([SEND_MANY, 3]);
    let backlog = case(NARROW + DEFAULT_LIMITS - 2).connect(&[TOPIC]).all([SUBSCRIBE, 0]).stall(0);
    let backlog = backlog.send(0, QUEUED, 0, &[[PUBLISH_MANY, 12 + 16 * 5]; 3]);
    let backlog = backlog.send(0, QUEUED, 0, &[]).step(&[30]).send(0, QUEUED, 0, &[]);

    [
        ("echo", echo),
        ("topics", topics),
        ("cohort-with-a-stalled-member", cohort(2)),
        ("skipping-cohort-with-a-stalled-member", cohort(3)),
        ("members-that-are-skipped", skipping),
        ("member-that-is-too-slow", slow),
        ("sessions", sessions),
        ("receiver-dropped-while-paused", silent),
        ("raw-between-fragments", raw),
        ("handles-of-those-who-have-gone", ended),
        ("handles-beside-topics", orders),
        ("last-words", last),
        ("panics", panics),
        ("decisions", deciding),
        ("broken-rules", garbage),
        ("resets-and-half-closes", gone),
        ("over-the-limit", few),
        ("clock-jumps", clock),
        ("stop", stop),
        ("many-publish-and-send-in-a-turn", pairs),
        ("backlog-of-one-call", backlog),
    ]
    .map(|(name, Case(bytes))| (name, bytes))
    .into()
}

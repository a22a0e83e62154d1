//! The rows that are whole programs: each is an example, and is talked to as its users would.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use chinwag::{
    Message, Opcode, Server,
    testing::{self, Client},
};

use crate::{SECOND, close_of};

#[path = "../../examples/broadcast.rs"]
#[expect(dead_code, reason = "its main is for people")]
mod broadcast;
#[path = "../../examples/chat.rs"]
#[expect(dead_code, reason = "its main is for people")]
mod chat;
#[path = "../../examples/chat_steps.rs"]
#[expect(dead_code, reason = "its main is for people")]
mod chat_steps;
#[path = "../../examples/client.rs"]
#[expect(dead_code, reason = "its main is for people")]
mod client;
#[path = "../../examples/greeter.rs"]
#[expect(dead_code, reason = "its main is for people")]
mod greeter;
#[path = "../../examples/raw.rs"]
#[expect(dead_code, reason = "its main is for people")]
mod raw;
#[path = "../../examples/russian.rs"]
#[expect(dead_code, reason = "its main is for people")]
mod russian;

#[cfg(feature = "json")]
#[path = "../../examples/tasks.rs"]
#[expect(dead_code, reason = "its main is for people")]
mod tasks;

/// Writes down what an example prints.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<String>>>);

impl Printed {
    fn print(&self) -> impl Fn(&str) + Clone + Send + Sync + use<> {
        let Self(lines) = self.clone();
        move |line| lines.lock().unwrap().push(line.to_owned())
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn hear<const N: usize>(client: &mut Client) -> [String; N] {
    [(); N].map(|()| client.recv_text())
}

#[test]
fn row_32_an_echo_with_a_prefix() {
    let printed = Printed::default();
    let server = testing::Server::new(russian::server(printed.print()));
    let mut client = server.connect("/ws").unwrap();
    client.send("привет");
    assert_eq!(client.recv_text(), "Сервер получил ваше сообщение: привет");
    client.send(vec![1, 2, 3]);
    client.send("ещё");
    assert_eq!(client.recv_text(), "Сервер получил ваше сообщение: ещё");
    assert_eq!(printed.lines(), ["привет", "Получен не текстовый фрейм", "ещё"]);
}

#[test]
fn row_33_a_chat_that_goes_to_all_clients() {
    let printed = Printed::default();
    let server = testing::Server::new(russian::server(printed.print()));
    let mut clients = [(); 3].map(|()| server.connect("/chat").unwrap());
    for client in &mut clients {
        assert_eq!(client.recv_text(), "Добро пожаловать в чат!");
    }
    clients[1].send("всем привет");
    for client in &mut clients {
        assert_eq!(client.recv_text(), "Клиент: всем привет");
    }
    clients[0].send(vec![0]);
    assert_eq!(printed.lines(), ["Получен не текстовый фрейм"]);
}

#[test]
fn row_34_a_conversation() {
    let server = testing::Server::new(greeter::server());
    assert_eq!(server.get("/").text(), "Hello, world!\n");
    for bye in ["bye", "BYE", "ByE"] {
        let mut client = server.connect("/echo").unwrap();
        assert_eq!(client.recv_text(), "Please enter your name");
        client.send(&b"JetBrains"[..]);
        client.send("JetBrains");
        assert_eq!(client.recv_text(), "Hi, JetBrains!");
        client.send("Анна");
        assert_eq!(client.recv_text(), "Hi, Анна!");
        client.send(bye);
        assert_eq!(close_of(&mut client), (1000, "Client said BYE".into()));
    }
}

/// What the members of a chat are called starts at 0 and never goes back; it is counted over the process,
/// so this is one test.
#[test]
fn row_35_row_36_a_chat_with_numbers_that_forgets_who_has_gone() {
    let server = testing::Server::new(chat::server());
    let mut first = server.connect("/chat").unwrap();
    let mut second = server.connect("/chat").unwrap();
    assert_eq!(first.recv_text(), "You've logged in as [user0]");
    assert_eq!(second.recv_text(), "You've logged in as [user1]");
    first.send("hello");
    for member in [&mut first, &mut second] {
        assert_eq!(member.recv_text(), "[user0]: hello");
    }
    first.send(vec![0]);
    second.send("hello, user0");
    for member in [&mut first, &mut second] {
        assert_eq!(member.recv_text(), "[user1]: hello, user0");
    }

    // However somebody goes, nothing of them stays, and their number is not given again.
    second.cut();
    first.send("are you there?");
    assert_eq!(first.recv_text(), "[user0]: are you there?");
    assert_eq!(server.connections(), 1);
    assert_eq!(server.counters().undelivered.get(), 0, "nobody speaks to who has gone");
    let mut third = server.connect("/chat").unwrap();
    assert_eq!(third.recv_text(), "You've logged in as [user2]");

    // Nor in another server of the process.
    let another = testing::Server::new(chat::server());
    let mut fourth = another.connect("/chat").unwrap();
    assert_eq!(fourth.recv_text(), "You've logged in as [user3]");
}

#[test]
fn row_37_a_chat_in_four_steps() {
    let server = testing::Server::new(chat_steps::server());
    let join = |step| server.connect(step).unwrap();
    // An echo.
    let (mut one, other) = (join("/1"), join("/1"));
    one.send("hello");
    assert_eq!(one.recv_text(), "hello");
    drop(other);

    // A list of those who are here.
    let (mut one, mut other) = (join("/2"), join("/2"));
    assert_eq!(one.recv_text(), "You are connected! There are 1 users here.");
    assert_eq!(other.recv_text(), "You are connected! There are 2 users here.");
    other.cut();
    let mut third = join("/2");
    assert_eq!(third.recv_text(), "You are connected! There are 2 users here.");
    one.send("hello");
    assert_eq!(one.recv_text(), "hello");
    assert!(third.try_recv().is_none());

    // A broadcast.
    let (mut one, mut other) = (join("/3"), join("/3"));
    one.send("hello");
    for member in [&mut one, &mut other] {
        assert_eq!(member.recv_text(), "hello");
    }
    other.cut();
    one.send("alone");
    assert_eq!(one.recv_text(), "alone");
    assert_eq!(server.counters().undelivered.get(), 0, "who has gone is on no list");

    // Names.
    let (mut one, mut other) = (join("/4"), join("/4"));
    one.send("hello");
    other.send("hello, user0");
    for member in [&mut one, &mut other] {
        assert_eq!(hear(member), ["user0 said: hello", "user1 said: hello, user0"]);
    }
}

#[test]
fn row_38_thread_safety() {
    // Over sockets and several workers, so that sessions of different threads come, speak and go at once.
    const EACH: usize = 50;
    let server = chat_steps::server().workers(4).bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/4", server.local_addr());
    let stopper = server.stopper();
    let running = thread::spawn(move || server.run());
    let said: Vec<_> = thread::scope(|scope| {
        let speak = |number: usize| {
            let url = &url;
            scope.spawn(move || {
                let mut client = chinwag::client::connect(url).unwrap();
                let mine = format!(" said: {number} ");
                for word in 0..EACH {
                    client.send(format!("{number} {word}")).unwrap();
                    // Its own words come back, among others, in their order.
                    let own = loop {
                        let Some(Message::Text(text)) = client.recv().unwrap() else { panic!() };
                        if text.contains(&mine) {
                            break text.as_str().to_owned();
                        }
                    };
                    assert!(own.ends_with(&format!("{mine}{word}")), "{own}");
                }
                EACH
            })
        };
        let speakers: Vec<_> = (0..16).map(speak).collect();
        speakers.into_iter().map(|speaker| speaker.join().unwrap()).collect()
    });
    assert_eq!(said, [EACH; 16]);
    stopper.stop();
    running.join().unwrap().unwrap();
}

#[test]
fn row_39_a_broadcast_by_a_shared_flow() {
    let printed = Printed::default();
    let server = testing::Server::new(broadcast::server(printed.print()));
    let mut clients = [(); 2].map(|()| server.connect("/ws").unwrap());
    for client in &mut clients {
        assert_eq!(client.recv_text(), "You are connected to WebSocket!");
    }
    clients[0].send("Hello");
    clients[1].send("World");
    for client in &mut clients {
        assert_eq!(hear(client), ["Hello", "World"]);
    }
    let [mut first, mut second] = clients;
    second.close(chinwag::CloseCode::NORMAL, "");
    assert_eq!(printed.lines(), [""; 0], "to leave is no error");
    second = server.connect("/ws").unwrap();
    second.cut();
    let lost = "WebSocket exception: connection was closed without close frame";
    assert_eq!(printed.lines(), [lost]);

    // Who does not read does not hold up the others, and is told what it has missed.
    let mut slow = server.connect("/ws").unwrap();
    slow.recv_text();
    slow.stop_reading();
    let long = "x".repeat(10_000);
    for _ in 0..200 {
        first.send(&long);
        assert_eq!(first.recv_text(), long);
    }
    slow.send("me?");
    slow.read_on();
    let mut heard = 0;
    while slow.recv_text() == long {
        heard += 1;
    }
    assert_eq!(slow.recv_text(), format!("You have missed {} messages", 200 - heard));
    assert!((20..60).contains(&heard), "{heard}");
}

#[cfg(feature = "json")]
mod json {
    use std::time::Duration;

    use super::{
        tasks::{Customer, Priority, Task},
        *,
    };

    const TASKS: [&str; 4] = [
        r#"{"name":"cleaning","description":"Clean the house","priority":"Low"}"#,
        r#"{"name":"gardening","description":"Mow the lawn","priority":"Medium"}"#,
        r#"{"name":"shopping","description":"Buy the groceries","priority":"High"}"#,
        r#"{"name":"painting","description":"Paint the fence","priority":"Medium"}"#,
    ];

    #[test]
    fn row_40_tasks_one_a_second() {
        let server = testing::Server::new(tasks::server());
        let mut client = server.connect("/tasks").unwrap();
        for text in TASKS {
            assert_eq!(client.recv_text(), text);
            server.advance(Duration::from_millis(950));
            assert!(client.try_recv().is_none() && client.is_open(), "the second is not over");
            server.advance(Duration::from_millis(60));
        }
        assert_eq!(close_of(&mut client), (1000, "All done".into()));
    }

    #[test]
    fn row_40_tasks_as_they_come() {
        let server = testing::Server::new(tasks::server());
        let mut clients = [(); 2].map(|()| server.connect("/tasks2").unwrap());
        for client in &mut clients {
            assert_eq!(hear(client), TASKS);
        }
        let task = Task {
            name: "booking".into(),
            description: "Plan a holiday".into(),
            priority: Priority::Vital,
        };
        clients[0].send_as(&task);
        for client in &mut clients {
            assert_eq!(client.recv_as::<Task>(), task);
        }
        // What is no task harms nobody.
        clients[1].send("{}");
        let complaint = clients[1].recv_text();
        assert!(complaint.starts_with("this is no task: a value that does not fit: missing field"));
        let mut late = server.connect("/tasks2").unwrap();
        assert_eq!(hear(&mut late), TASKS);
        assert_eq!(late.recv_as::<Task>(), task);
    }

    #[test]
    fn row_12_a_client_speaks_in_values() {
        let server = tasks::server().bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/tasks2", server.local_addr());
        let stopper = server.stopper();
        let running = thread::spawn(move || server.run());
        let mut client = chinwag::client::connect(&url).unwrap();
        for text in TASKS {
            let task = client.recv_as::<Task>().unwrap().unwrap().unwrap();
            assert_eq!(Message::from_value(&task).unwrap(), Message::from(text));
        }
        let task = Task { name: "a".into(), description: "b".into(), priority: Priority::Low };
        let (mut sender, mut receiver) = client.split().unwrap();
        sender.send_as(&task).unwrap();
        assert_eq!(receiver.recv_as::<Task>().unwrap().unwrap().unwrap(), task);
        sender.send("no task").unwrap();
        // The complaint is none either; the connection goes on.
        assert!(receiver.recv_as::<Task>().unwrap().unwrap().is_err());
        sender.send_as(&task).unwrap();
        assert_eq!(receiver.recv_as::<Task>().unwrap().unwrap().unwrap(), task);
        sender.close(chinwag::CloseCode::NORMAL, "").unwrap();
        assert!(receiver.recv_as::<Task>().unwrap().is_none());
        stopper.stop();
        running.join().unwrap().unwrap();
    }

    #[test]
    fn row_41_one_object_each_way() {
        let server = testing::Server::new(tasks::server());
        let mut client = server.connect("/customer/1").unwrap();
        let customer: Customer = client.recv_as();
        assert_eq!(
            (customer.id, &*customer.first_name, &*customer.last_name),
            (1, "Jane", "Smith")
        );
        assert_eq!(close_of(&mut client), (1000, "".into()));

        let mut client = server.connect("/customer").unwrap();
        client.send_as(&customer);
        assert_eq!(client.recv_text(), "A customer with id 1 is received by the server.");
        assert_eq!(close_of(&mut client), (1000, "".into()));
    }
}

// ---- the other examples -------------------------------------------------------------------------

#[test]
fn ping_and_pong_by_hand() {
    let server = testing::Server::new(raw::server());
    let mut client = server.connect("/raw").unwrap();
    client.ping(b"?");
    client.send("text");
    let pong = client.recv_frame().unwrap();
    assert_eq!((pong.opcode, &*pong.payload), (Opcode::Pong, &b"?"[..]));
    assert_eq!(client.recv_text(), "text");
    // It asks who is silent, and again, as long as there is an answer.
    for _ in 0..3 {
        server.advance(16 * SECOND);
        let ping = client.recv_frame().unwrap();
        assert_eq!((ping.opcode, &*ping.payload), (Opcode::Ping, &b"are you there?"[..]));
    }
    client.close(chinwag::CloseCode(4000), "enough");
    assert_eq!(close_of(&mut client), (4000, "enough".into()));

    let mut asleep = server.connect("/raw").unwrap();
    asleep.ignore_pings();
    server.advance(29 * SECOND);
    assert!(asleep.is_open());
    server.advance(2 * SECOND);
    assert_eq!(close_of(&mut asleep), (1011, "internal error".into()));
}

#[test]
fn row_12_a_client_says_line_by_line() {
    let server = greeter::server().bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/echo", server.local_addr());
    let stopper = server.stopper();
    let running = thread::spawn(move || Server::run(server));
    let talk = |input: &str| {
        let mut output = Vec::new();
        let reason = client::talk(&url, input.as_bytes(), &mut output).unwrap();
        (String::from_utf8(output).unwrap(), reason.code.0, reason.text.to_string())
    };
    let heard = "Please enter your name\nHi, JetBrains!\n";
    let bye = (heard.into(), 1000, "Client said BYE".into());
    assert_eq!(talk("JetBrains\nbye\n"), bye);
    assert_eq!(talk("JetBrains\n"), (heard.into(), 1000, "that was all".into()));
    stopper.stop();
    running.join().unwrap().unwrap();
}

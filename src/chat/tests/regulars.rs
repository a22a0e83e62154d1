//! People who come back with a cookie, or with one that is none of ours.

use std::time::SystemTime;

use super::*;
use crate::{
    Accept,
    cookie::{Key, SignedCookie},
    testing::Reply,
};

const SECRET: [u8; 32] = [7; 32];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A chat that knows people again, its page, and the time there.
struct Tavern {
    house: House,
    regulars: Regulars,
    time: Arc<Mutex<SystemTime>>,
}

impl Tavern {
    fn new(limits: ChatLimits) -> Self {
        Self::with_key(limits, &SECRET)
    }

    fn with_key(limits: ChatLimits, secret: &[u8]) -> Self {
        let chat = Chat::new(limits);
        let cookie = SignedCookie::new("chat", &Key::new(secret).unwrap());
        let regulars = Regulars::new(chat.clone(), cookie);
        let time = Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + 20_000 * DAY));
        let (clock, page) = (Arc::clone(&time), regulars.clone());
        let page = move |request: &Request<'_>| {
            page.page(request, Answer::page("text/html", b""), *lock(&clock))
        };
        let (clock, door, anybody) = (Arc::clone(&time), regulars.clone(), chat.clone());
        let door = move |request: &Request<'_>| -> Result<_, Answer> {
            let (member, cookie) = door.service(request, *lock(&clock))?;
            Ok(Accept::new(member).with_headers(cookie.map(|cookie| ("Set-Cookie", cookie))))
        };
        let builder = Server::builder()
            .get("/", page)
            .service("/regular", door)
            .service("/chat", move |request: &Request<'_>| anybody.service(request));
        Self { house: House::of(chat, builder), regulars, time }
    }

    /// A browser with `cookie` loads the page; gives what it keeps from then on.
    fn loads_page(&self, cookie: &str) -> String {
        let server = &self.house.server;
        let page = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
        kept(&server.request(page)).expect("it is set with the page")
    }

    /// A browser with `cookie` connects; what it keeps, if it is told, is given too.
    fn comes(&self, cookie: &str) -> (Client, Option<String>) {
        let connect = self.house.server.client().header("Cookie", cookie);
        let person = connect.connect("/regular").unwrap();
        let kept = kept(&person.response());
        (person, kept)
    }

    /// As [`comes`](Self::comes); gives what the chat says first.
    fn greeting(&self, cookie: &str) -> String {
        heard(&mut self.comes(cookie).0).remove(0)
    }
}

/// What a browser sends back of an answer's cookie.
fn kept(reply: &Reply) -> Option<String> {
    Some(reply.header("Set-Cookie")?.split(';').next()?.to_owned())
}

#[test]
fn a_browser_that_comes_back_keeps_its_name() {
    let tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    let (mut person, set) = tavern.comes(&cookie);
    assert_eq!((heard(&mut person), set), (vec!["You've logged in as [user0]".into()], None));
    person.send("/nick Anna");
    drop(person);

    assert_eq!(tavern.greeting(&cookie), "You've logged in as [Anna]");
    // The page tells the name too, and the next upgrade has nothing to add.
    let renewed = tavern.loads_page(&cookie);
    assert_ne!(renewed, cookie);
    assert_eq!(tavern.comes(&renewed).1, None);
    assert_eq!(tavern.comes(&cookie).1, Some(renewed));
}

#[test]
fn two_tabs_of_a_browser_are_one_person() {
    let tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    let mut other = tavern.house.comes();
    let (mut first, _) = tavern.comes(&cookie);
    first.send("/nick Anna");
    forget([&mut other]);

    let (mut second, _) = tavern.comes(&cookie);
    assert_eq!(heard(&mut second), ["You've logged in as [Anna]"]);
    assert_eq!(heard(&mut other), [""; 0], "she is here already");
    other.send("/who");
    assert_eq!(heard(&mut other), ["* In lobby: Anna, user0"]);
    other.send("/nick anna");
    assert_eq!(heard(&mut other), ["* You are still user0: somebody is called anna already"]);

    drop(first);
    assert_eq!(heard(&mut other), [""; 0], "she is still here");
    second.send("It's me");
    assert_eq!(heard(&mut other), ["[Anna]: It's me"]);
    drop(second);
    assert_eq!(heard(&mut other), ["* Anna has left"]);
    other.send("/nick anna");
    assert_eq!(heard(&mut other), ["* user0 is now anna"]);
}

#[test]
fn two_tabs_may_be_called_differently_and_the_last_choice_is_kept() {
    let tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    let (mut first, mut second) = (tavern.comes(&cookie).0, tavern.comes(&cookie).0);
    first.send("/nick Anna");
    second.send("/nick Berta");
    forget([&mut second]);
    first.send("I am Anna");
    assert_eq!(heard(&mut second), ["[Anna]: I am Anna"]);
    assert_eq!(tavern.greeting(&cookie), "You've logged in as [Berta]");
    let as_berta = tavern.loads_page(&cookie);
    second.send("/nick Anna");
    assert_eq!(heard(&mut second).last().unwrap(), "* Berta is now Anna");
    let as_anna = tavern.loads_page(&as_berta);
    for cookie in [cookie, as_berta] {
        assert_eq!(tavern.greeting(&cookie), "You've logged in as [Anna]");
    }
    // A chat that starts anew knows no more than the cookie.
    let after = Tavern::new(ChatLimits::default());
    assert_eq!(after.greeting(&as_anna), "You've logged in as [Anna]");
}

#[test]
fn a_name_that_somebody_took_meanwhile_is_theirs_until_they_go() {
    let tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    let (mut person, _) = tavern.comes(&cookie);
    person.send("/nick Anna");
    drop(person);
    let mut other = tavern.house.comes();
    other.send("/nick ANNA");

    let (mut person, _) = tavern.comes(&cookie);
    let why = "* You are user2 for now: somebody is called Anna already";
    assert_eq!(heard(&mut person)[..2], ["You've logged in as [user2]", why]);
    drop(other);
    assert_eq!(tavern.greeting(&cookie), "You've logged in as [Anna]");
}

#[test]
fn guests_get_a_new_number_and_are_not_remembered() {
    let tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    for number in 0..3 {
        assert_eq!(tavern.greeting(&cookie), format!("You've logged in as [user{number}]"));
    }
    let (mut person, _) = tavern.comes(&cookie);
    person.send("/nick user3");
    assert!(heard(&mut person).last().unwrap().contains("only the server gives"));
    assert_eq!(tavern.greeting(&cookie), "You've logged in as [user4]");
}

#[test]
fn a_name_that_is_ones_own_already_is_no_news() {
    let tavern = Tavern::new(ChatLimits::default());
    let (mut person, _) = tavern.comes("");
    let mut other = tavern.house.comes();
    person.send("/nick Anna");
    forget([&mut person, &mut other]);
    person.send("/nick Anna");
    assert_eq!(heard(&mut person), ["* You are Anna already"]);
    assert_eq!(heard(&mut other), [""; 0]);
    person.send("/nick ANNA");
    assert_eq!(heard(&mut other), ["* Anna is now ANNA"]);
}

#[test]
fn an_upgrade_without_a_cookie_of_ours_gets_one() {
    let tavern = Tavern::new(ChatLimits::default());
    let (mut person, set) = tavern.comes("other=1");
    let cookie = set.expect("it has none");
    person.send("/nick Anna");
    drop(person);
    let (mut person, set) = tavern.comes(&format!("other=1; {cookie}"));
    assert_eq!(heard(&mut person), ["You've logged in as [Anna]"]);
    assert!(set.is_some_and(|set| set != cookie), "the name is new in it");
}

#[test]
fn a_cookie_that_is_not_ours_is_ignored_and_counted() {
    let tavern = Tavern::new(ChatLimits::default());
    let thief = Tavern::with_key(ChatLimits::default(), &[8; 32]);
    let (mut person, set) = tavern.comes("");
    let cookie = set.expect("it has none");
    person.send("/nick Anna");
    drop(person);
    let (mut stolen, set) = thief.comes("");
    stolen.send("/nick Anna");
    let other_key = thief.loads_page(&set.unwrap());
    let cut = &cookie[..cookie.len() - 4];
    for (count, forged) in [(1, cut), (2, &*other_key), (3, "chat=1.AA.AA")] {
        let (mut person, set) = tavern.comes(forged);
        assert!(heard(&mut person)[0].starts_with("You've logged in as [user"), "{forged}");
        assert!(set.is_some(), "{forged}: another is set");
        assert_eq!(tavern.regulars.cookie().ignored(), count, "{forged}");
    }
    *lock(&tavern.time) += 31 * DAY;
    assert!(tavern.greeting(&cookie).starts_with("You've logged in as [user"), "it has expired");
    assert_eq!(tavern.regulars.cookie().ignored(), 4);
    *lock(&tavern.time) -= 2 * DAY;
    assert_eq!(tavern.greeting(&cookie), "You've logged in as [Anna]");
}

#[test]
fn with_its_key_a_new_server_knows_who_has_loaded_the_page_since() {
    let before = Tavern::new(ChatLimits::default());
    let (mut person, set) = before.comes("");
    person.send("/nick Anna");
    let at_upgrade = set.unwrap();
    let with_name = before.loads_page(&at_upgrade);

    let after = Tavern::new(ChatLimits::default());
    assert_eq!(after.greeting(&with_name), "You've logged in as [Anna]");
    // From here on it knows who that is, whatever their cookie says of the name.
    assert_eq!(after.greeting(&at_upgrade), "You've logged in as [Anna]");
    let other = Tavern::with_key(ChatLimits::default(), &[8; 32]);
    assert_eq!(other.greeting(&with_name), "You've logged in as [user0]");
}

#[test]
fn a_name_that_is_none_any_more_is_told() {
    let before = Tavern::new(ChatLimits::default());
    let (mut person, set) = before.comes("");
    person.send("/nick Anna-of-the-long-name");
    let cookie = before.loads_page(&set.unwrap());
    let after = Tavern::new(ChatLimits { name: 10, ..ChatLimits::default() });
    let (mut person, _) = after.comes(&cookie);
    let why = "* You are user0 for now: a name has at most 10 bytes";
    assert_eq!(heard(&mut person), ["You've logged in as [user0]", why]);
}

#[test]
fn a_name_too_long_for_a_cookie_is_remembered_here() {
    let tavern = Tavern::new(ChatLimits { name: 2_000, ..ChatLimits::default() });
    let (mut person, set) = tavern.comes("");
    let cookie = set.unwrap();
    let name = "a".repeat(2_000);
    person.send(format!("/nick {name}"));
    drop(person);
    assert!(tavern.loads_page(&cookie).len() < 100);
    assert_eq!(tavern.greeting(&cookie), format!("You've logged in as [{name}]"));
}

#[test]
fn the_chat_remembers_so_many_and_no_more() {
    let tavern = Tavern::new(ChatLimits { regulars: 2, ..ChatLimits::default() });
    let cookies = ["Anna", "Berta", "Carla"].map(|name| {
        let (mut person, set) = tavern.comes("");
        person.send(format!("/nick {name}"));
        drop(person);
        set.unwrap()
    });
    let greetings = cookies.map(|cookie| tavern.greeting(&cookie));
    assert_eq!(
        greetings,
        ["user3", "Berta", "Carla"].map(|n| format!("You've logged in as [{n}]"))
    );
}

#[test]
fn who_finds_no_room_holds_no_name() {
    let tavern = Tavern::new(ChatLimits { rooms: 1, ..ChatLimits::default() });
    let (mut person, set) = tavern.comes("");
    person.send("/nick Anna");
    drop(person);
    lock(&tavern.house.chat.0.rooms).clear();
    let mut other = tavern.house.comes_to("/chat?room=tea");
    let (mut person, _) = tavern.comes(&set.unwrap());
    assert_eq!(heard(&mut person), ["You've logged in as [Anna]"]);
    assert_eq!(close_of(&mut person).0, 1013);
    other.send("/nick Anna");
    assert_eq!(heard(&mut other).last().unwrap(), "* user1 is now Anna");
}

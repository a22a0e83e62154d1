//! People who come back with a cookie, or with one that is none of ours.

use std::time::SystemTime;

use super::*;
use crate::cookie::{Key, SignedCookie};

const SECRET: [u8; 32] = [7; 32];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A chat that knows people again, and the time there.
struct Tavern {
    house: House,
    regulars: Regulars,
    time: SystemTime,
}

impl Tavern {
    fn new(limits: ChatLimits) -> Self {
        Self::with_key(limits, &SECRET)
    }

    fn with_key(limits: ChatLimits, secret: &[u8]) -> Self {
        let chat = Chat::new(limits);
        let cookie = SignedCookie::new("chat", &Key::new(secret).unwrap());
        let regulars = Regulars::new(chat.clone(), cookie);
        let time = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        Self { house: House::of(chat, 0), regulars, time }
    }

    fn request<T>(&self, cookie: &str, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers = vec![("Cookie", cookie.as_bytes())];
        let head = handshake::Request { method: "GET", path: "/chat", query: None, headers };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        ask(&Request::new(&head, &[], addr, None))
    }

    /// A browser with `cookie` loads the page; gives what it keeps from then on.
    fn loads_page(&self, cookie: &str) -> String {
        let page = Answer::page("text/html", b"");
        let page = self.request(cookie, |request| self.regulars.page(request, page, self.time));
        let (name, set) = page.headers.last().unwrap();
        assert_eq!(*name, "Set-Cookie");
        kept(set)
    }

    /// A browser with `cookie` connects; gives its number in the house and what it keeps, if it is told.
    fn comes(&mut self, cookie: &str) -> (usize, Option<String>) {
        let ask = |request: &Request<'_>| self.regulars.service(request, self.time);
        let (member, set) = self.request(cookie, ask).expect("the room has a name");
        (self.house.seats(member), set.as_deref().map(kept))
    }

    /// As [`comes`](Self::comes); gives what the chat says first.
    fn greeting(&mut self, cookie: &str) -> String {
        let (at, _) = self.comes(cookie);
        self.house[at].heard[0].clone()
    }
}

/// What a browser sends back of a Set-Cookie header.
fn kept(set: &str) -> String {
    set.split(';').next().unwrap().to_owned()
}

#[test]
fn a_browser_that_comes_back_keeps_its_name() {
    let mut tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    let (at, set) = tavern.comes(&cookie);
    assert_eq!((tavern.house.heard(at), set), (vec!["You've logged in as [user0]".into()], None));
    tavern.house.says(at, "/nick Anna");
    tavern.house.loses(at);

    assert_eq!(tavern.greeting(&cookie), "You've logged in as [Anna]");
    // The page tells the name too, and the next upgrade has nothing to add.
    let renewed = tavern.loads_page(&cookie);
    assert_ne!(renewed, cookie);
    assert_eq!(tavern.comes(&renewed).1, None);
    assert_eq!(tavern.comes(&cookie).1, Some(renewed));
}

#[test]
fn two_tabs_of_a_browser_are_one_person() {
    let mut tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    let other = tavern.house.comes();
    let (first, _) = tavern.comes(&cookie);
    tavern.house.says(first, "/nick Anna");
    tavern.house.forget();

    let (second, _) = tavern.comes(&cookie);
    assert_eq!(tavern.house.heard(second), ["You've logged in as [Anna]"]);
    assert_eq!(tavern.house.heard(other), [""; 0], "she is here already");
    tavern.house.says(other, "/who");
    assert_eq!(tavern.house.heard(other), ["* In lobby: Anna, user0"]);
    tavern.house.says(other, "/nick anna");
    assert_eq!(
        tavern.house.heard(other),
        ["* You are still user0: somebody is called anna already"]
    );

    tavern.house.loses(first);
    assert_eq!(tavern.house.heard(other), [""; 0], "she is still here");
    tavern.house.says(second, "It's me");
    assert_eq!(tavern.house.heard(other), ["[Anna]: It's me"]);
    tavern.house.loses(second);
    assert_eq!(tavern.house.heard(other), ["* Anna has left"]);
    tavern.house.says(other, "/nick anna");
    assert_eq!(tavern.house.heard(other), ["* user0 is now anna"]);
}

#[test]
fn two_tabs_may_be_called_differently_and_the_last_choice_is_kept() {
    let mut tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    let (first, second) = (tavern.comes(&cookie).0, tavern.comes(&cookie).0);
    tavern.house.says(first, "/nick Anna");
    tavern.house.says(second, "/nick Berta");
    tavern.house.forget();
    tavern.house.says(first, "I am Anna");
    assert_eq!(tavern.house.heard(second), ["[Anna]: I am Anna"]);
    assert_eq!(tavern.greeting(&cookie), "You've logged in as [Berta]");
    let as_berta = tavern.loads_page(&cookie);
    tavern.house.says(second, "/nick Anna");
    assert_eq!(tavern.house.heard(second).last().unwrap(), "* Berta is now Anna");
    let as_anna = tavern.loads_page(&as_berta);
    for cookie in [cookie, as_berta] {
        assert_eq!(tavern.greeting(&cookie), "You've logged in as [Anna]");
    }
    // A chat that starts anew knows no more than the cookie.
    let mut after = Tavern::new(ChatLimits::default());
    assert_eq!(after.greeting(&as_anna), "You've logged in as [Anna]");
}

#[test]
fn a_name_that_somebody_took_meanwhile_is_theirs_until_they_go() {
    let mut tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    let (at, _) = tavern.comes(&cookie);
    tavern.house.says(at, "/nick Anna");
    tavern.house.loses(at);
    let other = tavern.house.comes();
    tavern.house.says(other, "/nick ANNA");

    let (at, _) = tavern.comes(&cookie);
    let heard = tavern.house.heard(at);
    let why = "* You are user2 for now: somebody is called Anna already";
    assert_eq!(heard[..2], ["You've logged in as [user2]", why]);
    tavern.house.loses(other);
    assert_eq!(tavern.greeting(&cookie), "You've logged in as [Anna]");
}

#[test]
fn guests_get_a_new_number_and_are_not_remembered() {
    let mut tavern = Tavern::new(ChatLimits::default());
    let cookie = tavern.loads_page("");
    for number in 0..3 {
        assert_eq!(tavern.greeting(&cookie), format!("You've logged in as [user{number}]"));
    }
    let (at, _) = tavern.comes(&cookie);
    tavern.house.says(at, "/nick user3");
    assert!(tavern.house.heard(at).last().unwrap().contains("only the server gives"));
    assert_eq!(tavern.greeting(&cookie), "You've logged in as [user4]");
}

#[test]
fn a_name_that_is_ones_own_already_is_no_news() {
    let mut tavern = Tavern::new(ChatLimits::default());
    let (at, _) = tavern.comes("");
    let other = tavern.house.comes();
    tavern.house.says(at, "/nick Anna");
    tavern.house.forget();
    tavern.house.says(at, "/nick Anna");
    assert_eq!(tavern.house.heard(at), ["* You are Anna already"]);
    assert_eq!(tavern.house.heard(other), [""; 0]);
    tavern.house.says(at, "/nick ANNA");
    assert_eq!(tavern.house.heard(other), ["* Anna is now ANNA"]);
}

#[test]
fn an_upgrade_without_a_cookie_of_ours_gets_one() {
    let mut tavern = Tavern::new(ChatLimits::default());
    let (at, set) = tavern.comes("other=1");
    let cookie = set.expect("it has none");
    tavern.house.says(at, "/nick Anna");
    tavern.house.loses(at);
    let (at, set) = tavern.comes(&format!("other=1; {cookie}"));
    assert_eq!(tavern.house.heard(at), ["You've logged in as [Anna]"]);
    assert!(set.is_some_and(|set| set != cookie), "the name is new in it");
}

#[test]
fn a_cookie_that_is_not_ours_is_ignored_and_counted() {
    let mut tavern = Tavern::new(ChatLimits::default());
    let mut thief = Tavern::with_key(ChatLimits::default(), &[8; 32]);
    let (at, set) = tavern.comes("");
    let cookie = set.expect("it has none");
    tavern.house.says(at, "/nick Anna");
    tavern.house.loses(at);
    let (stolen, set) = thief.comes("");
    thief.house.says(stolen, "/nick Anna");
    let other_key = thief.loads_page(&set.unwrap());
    let cut = &cookie[..cookie.len() - 4];
    for (count, forged) in [(1, cut), (2, &*other_key), (3, "chat=1.AA.AA")] {
        let (at, set) = tavern.comes(forged);
        assert!(tavern.house.heard(at)[0].starts_with("You've logged in as [user"), "{forged}");
        assert!(set.is_some(), "{forged}: another is set");
        assert_eq!(tavern.regulars.cookie().ignored(), count, "{forged}");
    }
    tavern.time += 31 * DAY;
    assert!(tavern.greeting(&cookie).starts_with("You've logged in as [user"), "it has expired");
    assert_eq!(tavern.regulars.cookie().ignored(), 4);
    tavern.time -= 2 * DAY;
    assert_eq!(tavern.greeting(&cookie), "You've logged in as [Anna]");
}

#[test]
fn with_its_key_a_new_server_knows_who_has_loaded_the_page_since() {
    let mut before = Tavern::new(ChatLimits::default());
    let (at, set) = before.comes("");
    before.house.says(at, "/nick Anna");
    let at_upgrade = set.unwrap();
    let with_name = before.loads_page(&at_upgrade);

    let mut after = Tavern::new(ChatLimits::default());
    assert_eq!(after.greeting(&with_name), "You've logged in as [Anna]");
    // From here on it knows who that is, whatever their cookie says of the name.
    assert_eq!(after.greeting(&at_upgrade), "You've logged in as [Anna]");
    let mut other = Tavern::with_key(ChatLimits::default(), &[8; 32]);
    assert_eq!(other.greeting(&with_name), "You've logged in as [user0]");
}

#[test]
fn a_name_that_is_none_any_more_is_told() {
    let mut before = Tavern::new(ChatLimits::default());
    let (at, set) = before.comes("");
    before.house.says(at, "/nick Anna-of-the-long-name");
    let cookie = before.loads_page(&set.unwrap());
    let mut after = Tavern::new(ChatLimits { name: 10, ..ChatLimits::default() });
    let (at, _) = after.comes(&cookie);
    let why = "* You are user0 for now: a name has at most 10 bytes";
    assert_eq!(after.house.heard(at), ["You've logged in as [user0]", why]);
}

#[test]
fn a_name_too_long_for_a_cookie_is_remembered_here() {
    let mut tavern = Tavern::new(ChatLimits { name: 2_000, ..ChatLimits::default() });
    let (at, set) = tavern.comes("");
    let cookie = set.unwrap();
    let name = "a".repeat(2_000);
    tavern.house.says(at, &format!("/nick {name}"));
    tavern.house.loses(at);
    assert!(tavern.loads_page(&cookie).len() < 100);
    assert_eq!(tavern.greeting(&cookie), format!("You've logged in as [{name}]"));
}

#[test]
fn the_chat_remembers_so_many_and_no_more() {
    let mut tavern = Tavern::new(ChatLimits { regulars: 2, ..ChatLimits::default() });
    let cookies = ["Anna", "Berta", "Carla"].map(|name| {
        let (at, set) = tavern.comes("");
        tavern.house.says(at, &format!("/nick {name}"));
        tavern.house.loses(at);
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
    let mut tavern = Tavern::new(ChatLimits { rooms: 1, ..ChatLimits::default() });
    let (at, set) = tavern.comes("");
    tavern.house.says(at, "/nick Anna");
    tavern.house.loses(at);
    tavern.house.chat.0.rooms.lock().unwrap().clear();
    let other = tavern.house.comes_to("/chat?room=tea");
    let (at, _) = tavern.comes(&set.unwrap());
    assert_eq!(tavern.house[at].close.as_ref().map(|(code, _)| *code), Some(1013));
    tavern.house.says(other, "/nick Anna");
    assert!(tavern.house.heard(other).contains(&"* user1 is now Anna".to_string()));
}

//! The page beside the chat, and those who come back to it.

use std::time::{Duration, SystemTime};

use chinwag::{
    Accept, Answer, Request, Server,
    chat::{Chat, ChatLimits, Regulars},
    cookie::{Key, SignedCookie},
    testing::{self, Client, Reply},
    web,
};

use crate::close_of;

const SECRET: [u8; 32] = [7; 32];

fn cookie() -> SignedCookie {
    SignedCookie::new("chat", &Key::new(&SECRET).unwrap())
}

/// The chat and its page, as the command serves them, and what knows people again.
fn tavern(cookie: SignedCookie) -> (testing::Server, Regulars) {
    let regulars = Regulars::new(Chat::new(ChatLimits::default()), cookie);
    let (page, door) = (regulars.clone(), regulars.clone());
    let builder = Server::builder()
        .get("/", move |request: &Request<'_>| page.page(request, web::page(), SystemTime::now()))
        .service("/chat", move |request: &Request<'_>| -> Result<_, Answer> {
            let (member, cookie) = door.service(request, SystemTime::now())?;
            Ok(Accept::new(member).with_headers(cookie.map(|cookie| ("Set-Cookie", cookie))))
        });
    (testing::Server::new(builder), regulars)
}

/// What a browser sends back of an answer's cookie.
fn kept(reply: &Reply) -> String {
    let set = reply.header("Set-Cookie").expect("a cookie is set");
    set.split(';').next().unwrap().to_owned()
}

fn comes(server: &testing::Server, cookie: &str) -> Client {
    server.client().header("Cookie", cookie).connect("/chat").unwrap()
}

#[test]
fn row_42_a_client_in_the_browser() {
    // What it does is tested in browsers; here, that it makes no markup of what others say.
    let (server, _) = tavern(cookie());
    let page = server.get("/").text();
    for part in [
        "new WebSocket(",
        "<input id=\"text\"",
        "<button>Send</button>",
        ".textContent = ",
        "input.value = \"\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for part in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn row_43_the_page_comes_from_the_same_server() {
    let (server, _) = tavern(cookie());
    let reply = server.get("/");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("Content-Type"), Some("text/html; charset=utf-8"));
    let mut client = server.client().origin("http://localhost").connect("/chat").unwrap();
    assert_eq!(client.recv_text(), "You've logged in as [user0]");
    let elsewhere = server.client().origin("http://elsewhere.example").connect("/chat");
    assert_eq!(elsewhere.unwrap_err().status, 403);
}

#[test]
fn row_45_who_comes_back_keeps_the_name() {
    let (server, regulars) = tavern(cookie());
    let page = server.get("/");
    let set = page.header("Set-Cookie").unwrap();
    assert!(set.ends_with("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"), "{set}");
    let mine = kept(&page);
    let mut client = comes(&server, &mine);
    assert_eq!(client.response().header("Set-Cookie"), None, "it is sent only if it has changed");
    assert_eq!(client.recv_text(), "You've logged in as [user0]");
    client.send("/nick Anna");
    client.send("/quit");
    while client.recv().is_some() {}
    assert_eq!(close_of(&mut client).0, 1000);
    let mut client = comes(&server, &mine);
    assert_eq!(client.recv_text(), "You've logged in as [Anna]");
    assert!(client.response().header("Set-Cookie").is_some(), "it holds the new name");

    // Who comes without the page gets one at the upgrade.
    let other = server.connect("/chat").unwrap();
    let theirs = kept(&other.response());
    assert_ne!(theirs, mine);
    assert_eq!(regulars.cookie().ignored(), 0);

    // One that is forged or expired, or that another key has signed, is ignored and counted.
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let expired = cookie().seal(&[1; 16], long_ago).unwrap();
    let foreign = SignedCookie::new("chat", &Key::random());
    let foreign = foreign.seal(&[1; 16], SystemTime::now()).unwrap();
    let forged = mine.replacen("chat=1.", "chat=1.A", 1);
    for (count, cookie) in [expired, foreign, forged].into_iter().enumerate() {
        let pair = cookie.split(';').next().unwrap();
        let mut client = comes(&server, pair);
        assert!(client.recv_text().starts_with("You've logged in as [user"));
        assert!(client.response().header("Set-Cookie").is_some());
        assert_eq!(regulars.cookie().ignored(), count as u64 + 1);
    }

    // Behind https it goes over nothing else.
    let (server, _) = tavern(cookie().secure(true));
    let page = server.get("/");
    let set = page.header("Set-Cookie").unwrap();
    assert!(set.starts_with("__Host-chat=") && set.ends_with("; Secure"), "{set}");
}

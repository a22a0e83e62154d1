//! Those who come back: a cookie by which the chat knows them again.
//!
//! In the cookie are the number of a [`Regular`], sixteen bytes, and what they were called when it was
//! set. It is set with the page and, where it says something new, at the upgrade. A name that is chosen
//! between is remembered by the chat, as nothing can be set then.

use std::{sync::Arc, time::SystemTime};

use super::{Chat, Member, Regular};
use crate::{
    cookie::SignedCookie,
    service::{Answer, Request},
};

/// A chat that knows people again by their browser. Clones are the same.
///
/// ```
/// use std::time::SystemTime;
///
/// use chinwag::{
///     Accept, Answer, Request, Router,
///     chat::{Chat, Regulars},
///     cookie::{Key, SignedCookie},
///     web,
/// };
///
/// let regulars = Regulars::new(Chat::default(), SignedCookie::new("chat", &Key::random()));
/// let page = regulars.clone();
/// let router = Router::new()
///     .get("/", move |request| page.page(request, web::page(), SystemTime::now()))
///     .service("/chat", move |request: &Request<'_>| -> Result<_, Answer> {
///         let (member, cookie) = regulars.service(request, SystemTime::now())?;
///         Ok(Accept::new(member).with_headers(cookie.map(|cookie| ("Set-Cookie", cookie))))
///     });
/// # router.build(Default::default()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Regulars {
    chat: Chat,
    cookie: Arc<SignedCookie>,
}

impl Regulars {
    /// Those who come to `chat` and are known by `cookie`.
    pub fn new(chat: Chat, cookie: SignedCookie) -> Self {
        Self { chat, cookie: cookie.into() }
    }

    /// The cookie, which tells how many that came were ignored.
    pub fn cookie(&self) -> &SignedCookie {
        &self.cookie
    }

    /// `page` with the cookie for who asks for it. Caches must not keep such a page.
    pub fn page(&self, request: &Request<'_>, page: Answer, now: SystemTime) -> Answer {
        let regular = self.known(request, now).unwrap_or_else(newcomer);
        page.with_header("Set-Cookie", self.seal(&self.up_to_date(regular), now))
    }

    /// The service for one connection, and the value of a Set-Cookie header for its upgrade: where no
    /// cookie came, or one that says another name than they have.
    ///
    /// # Errors
    /// As [`Chat::service`].
    pub fn service(
        &self,
        request: &Request<'_>,
        now: SystemTime,
    ) -> Result<(Member, Option<String>), Answer> {
        let known = self.known(request, now);
        let regular = self.up_to_date(known.clone().unwrap_or_else(newcomer));
        let cookie = (known.as_ref() != Some(&regular)).then(|| self.seal(&regular, now));
        Ok((self.chat.service_for(regular, request)?, cookie))
    }

    /// Who the cookie of a request says it is.
    fn known(&self, request: &Request<'_>, now: SystemTime) -> Option<Regular> {
        let payload = self.cookie.read(request, now)?;
        let (id, name) = payload.split_first_chunk()?;
        let name = str::from_utf8(name).ok().filter(|name| !name.is_empty());
        Some(Regular { id: u128::from_be_bytes(*id), name: name.map(String::from) })
    }

    /// The same person, with the name that the chat knows.
    fn up_to_date(&self, regular: Regular) -> Regular {
        let name = self.chat.name_of(regular.id).or(regular.name);
        Regular { name, ..regular }
    }

    fn seal(&self, regular: &Regular, now: SystemTime) -> String {
        let id = regular.id.to_be_bytes();
        let name = regular.name.as_deref().unwrap_or_default();
        self.cookie
            .seal(&[&id, name.as_bytes()].concat(), now)
            // A chat may allow longer names than a cookie can hold.
            .or_else(|_| self.cookie.seal(&id, now))
            .expect("sixteen bytes fit into a cookie")
    }
}

fn newcomer() -> Regular {
    Regular { id: rand::random(), name: None }
}

//! Signed cookies: what a browser keeps for us and can show, but neither read to any use nor change.
//!
//! A payload goes out in a Set-Cookie header and comes back with later requests, pages and upgrades
//! alike, until it expires. The value of such a cookie is
//!
//! ```text
//! 1.<expiry and payload>.<HMAC-SHA-256>
//! ```
//!
//! in base64 for URLs (RFC 4648 §5), with the expiry as eight bytes of Unix seconds. What is signed is
//! everything before the last point. The key of the signature is itself an HMAC of the version and the
//! cookie's name under the server's [`Key`]: so a signature made for one cookie is worth nothing in
//! another, nor in a later version. The payload is signed, not encrypted: who has the cookie can read it.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{protocol::extension::is_token, service::Request};

/// A cookie that is signed by this server. Its clock is whoever calls.
///
/// ```
/// use std::time::SystemTime;
///
/// use chinwag::{Accept, Answer, Request, Router, Service, cookie::{Key, SignedCookie}};
///
/// struct Guest;
///
/// impl Service for Guest {}
///
/// let cookie = SignedCookie::new("visits", &Key::random());
/// let router = Router::new().service("/", move |request: &Request<'_>| {
///     let now = SystemTime::now();
///     let visits = cookie.read(request, now).and_then(|bytes| bytes.first().copied());
///     let set = cookie.seal(&[visits.unwrap_or(0).saturating_add(1)], now).expect("it is short");
///     Accept::new(Guest).with_header("Set-Cookie", set)
/// });
/// # router.build(Default::default()).unwrap();
/// ```
pub struct SignedCookie {
    name: String,
    /// Ready to sign, to be cloned for each signature.
    mac: Hmac<Sha256>,
    max_age: Duration,
    secure: bool,
    ignored: AtomicU64,
}

impl SignedCookie {
    /// The cookie called `name`, kept for 30 days.
    ///
    /// # Panics
    /// Where `name` is not a token (RFC 6265 §4.1.1).
    pub fn new(name: &str, key: &Key) -> Self {
        assert!(is_token(name), "the name of a cookie is a token");
        let purpose = [b"chinwag cookie ", VERSION.as_bytes(), name.as_bytes()].concat();
        let own_key = key.mac().chain_update(purpose).finalize().into_bytes();
        Self {
            name: name.to_owned(),
            mac: keyed(&own_key),
            max_age: Duration::from_secs(30 * 24 * 60 * 60),
            secure: false,
            ignored: AtomicU64::new(0),
        }
    }

    /// For how long it is worth something, counted from each time it is set: whole seconds. The browser
    /// is told, and a cookie that comes later is ignored whatever the browser does. Browsers keep none for
    /// more than 400 days.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// For a server whose pages come over https only, which a proxy in front may be what makes them: the
    /// browser then sends the cookie over https alone. Its name starts with `__Host-`, so that nothing
    /// but this host can set it, over http or from a name above or below.
    #[must_use]
    pub fn secure(mut self, secure: bool) -> Self {
        self.name = self.name.trim_start_matches(HOST_ONLY).to_owned();
        if secure {
            self.name.insert_str(0, HOST_ONLY);
        }
        self.secure = secure;
        self
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The payload that `request` carries, `None` where it carries none that is ours and not expired.
    ///
    /// What is not is counted, and told at level debug. Of several cookies of the name, the first four are
    /// tried: another site of the same domain may have set one in front of ours.
    pub fn read(&self, request: &Request<'_>, now: SystemTime) -> Option<Vec<u8>> {
        let values = request.cookies().filter(|(name, _)| *name == self.name);
        values.take(MAX_TRIED).find_map(|(_, value)| {
            self.open(value, now)
                .inspect_err(|why| {
                    self.ignored.fetch_add(1, Ordering::Relaxed);
                    // Choice: a room beside the server's logs. Only here is it known what was wrong.
                    log::debug!("a cookie of {} is ignored: {why}", request.addr());
                })
                .ok()
        })
    }

    /// How many cookies of the name were ignored.
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }

    /// The payload in a cookie's value.
    ///
    /// # Errors
    /// [`BadCookie`]; neither counted nor told.
    pub fn open(&self, value: &str, now: SystemTime) -> Result<Vec<u8>, BadCookie> {
        if value.len() > MAX_VALUE {
            return Err(BadCookie::TooLong);
        }
        let text = value.strip_prefix(VERSION).ok_or(BadCookie::Version)?;
        let (body, signature) = text.rsplit_once('.').ok_or(BadCookie::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadCookie::Malformed)?;
        // In a time that does not tell how much of the signature was right.
        self.sign(body).verify_slice(&signature).map_err(|_| BadCookie::Forged)?;
        // From here on it is what we wrote.
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| BadCookie::Malformed)?;
        let (expiry, payload) = body.split_first_chunk().ok_or(BadCookie::Malformed)?;
        if u64::from_be_bytes(*expiry) <= seconds(now) {
            return Err(BadCookie::Expired);
        }
        Ok(payload.to_vec())
    }

    /// The value of the Set-Cookie header that has the browser keep `payload` (RFC 6265 §4.1): for all
    /// paths of this host, out of reach of scripts, and not sent with what other sites ask for.
    ///
    /// # Errors
    /// [`TooLong`] for more than 725 bytes, whose cookie would be longer than 1 KiB.
    pub fn seal(&self, payload: &[u8], now: SystemTime) -> Result<String, TooLong> {
        let expiry = seconds(now).saturating_add(self.max_age.as_secs());
        let body = URL_SAFE_NO_PAD.encode([&expiry.to_be_bytes(), payload].concat());
        let signature = URL_SAFE_NO_PAD.encode(self.sign(&body).finalize().into_bytes());
        let value = format!("{VERSION}{body}.{signature}");
        if value.len() > MAX_VALUE {
            return Err(TooLong { len: payload.len() });
        }
        let (name, age) = (&self.name, self.max_age.as_secs());
        let secure = if self.secure { "; Secure" } else { "" };
        Ok(format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"))
    }

    fn sign(&self, body: &str) -> Hmac<Sha256> {
        self.mac.clone().chain_update(VERSION).chain_update(body)
    }
}

impl fmt::Debug for SignedCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedCookie").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Longest value of a cookie, in bytes; browsers take up to 4 KiB with its name and attributes.
const MAX_VALUE: usize = 1 << 10;

/// Most cookies of the name that are looked at in a request.
const MAX_TRIED: usize = 4;

/// What a value of this form starts with.
const VERSION: &str = "1.";

/// A name that starts so is refused by browsers unless the cookie is Secure, has Path=/ and no Domain.
const HOST_ONLY: &str = "__Host-";

/// Unix time; a clock before 1970 stands still at zero.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104 §3)")
}

/// The secret of a server, from which the keys of its cookies are made. Servers with the same secret
/// know each other's cookies, as does one with its own from before it was started anew.
#[derive(Clone)]
pub struct Key(Box<[u8]>);

impl Key {
    /// Fewest bytes of a secret.
    pub const MIN: usize = 32;

    /// A key from a secret: at least 32 bytes, which nobody can guess.
    ///
    /// # Errors
    /// [`WeakKey`] where it is shorter.
    pub fn new(secret: &[u8]) -> Result<Self, WeakKey> {
        if secret.len() < Self::MIN {
            return Err(WeakKey { len: secret.len() });
        }
        Ok(Self(secret.into()))
    }

    /// A key that lives as long as this process, from the system's randomness.
    pub fn random() -> Self {
        Self(Box::new(rand::random::<[u8; Self::MIN]>()))
    }

    fn mac(&self) -> Hmac<Sha256> {
        keyed(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Why a cookie is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadCookie {
    /// It is longer than any of ours.
    TooLong,
    /// It is of another version, or none of ours at all.
    Version,
    /// It is cut off or garbled.
    Malformed,
    /// Its signature is not of our key: it was changed, is another cookie's, or of another key.
    Forged,
    /// It was ours, and its time is over.
    Expired,
}

impl fmt::Display for BadCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it is longer than any of ours",
            Self::Version => "it is not of our version",
            Self::Malformed => "it is cut off or garbled",
            Self::Forged => "its signature is not of our key",
            Self::Expired => "it has expired",
        })
    }
}

impl std::error::Error for BadCookie {}

/// The payload does not fit into a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// Its bytes.
    pub len: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes do not fit into a cookie", self.len)
    }
}

impl std::error::Error for TooLong {}

/// The secret is so short that it might be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeakKey {
    /// Its bytes.
    pub len: usize,
}

impl fmt::Display for WeakKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key has at least {} bytes, and this one has {}", Key::MIN, self.len)
    }
}

impl std::error::Error for WeakKey {}

#[cfg(test)]
mod tests;

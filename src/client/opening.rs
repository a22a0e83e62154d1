//! The opening handshake from the client's side: the request out, the answer in (§4.1).
//!
//! A stream and what is asked for go in; what the server agreed to comes out, and the bytes that came
//! behind its head. The deadline is one for the whole of it: bytes do not renew it.

use std::{
    io::{self, ErrorKind},
    ops::Range,
    time::{Duration, Instant},
};

use super::{
    error::{ConnectError, Refusal},
    stream::{self, Stream, is_timeout},
};
use crate::protocol::{
    connection::{Settings, Terms},
    handshake::{ClientRequest, HandshakeError, HeadReader, Response},
};

/// Most interim responses (1xx) before the final one.
const MAX_INTERIM: usize = 16;

/// What the server agreed to.
#[derive(Debug)]
pub(super) struct Accepted {
    pub protocol: Option<String>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub terms: Terms,
}

/// A stream with a deadline.
pub(super) struct Opening<'s, S> {
    pub stream: &'s mut S,
    pub until: Instant,
}

impl<S: Stream> Opening<'_, S> {
    /// Sends `request` and reads the response into `buffer`, where it leaves what came behind it: the
    /// range that it gives.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn run(
        &mut self,
        request: &ClientRequest<'_>,
        settings: &Settings,
        buffer: &mut [u8],
    ) -> Result<(Accepted, Range<usize>), ConnectError> {
        self.write_all(&request.encode()?)?;
        let mut limits = settings.limits.clone();
        let mut reader = HeadReader::default();
        let mut unread = 0..0;
        let mut interim = 0;
        loop {
            if unread.is_empty() {
                unread = 0..self.read(buffer)?;
            }
            let end = unread.end;
            let mut input = &mut buffer[unread];
            let head = reader.read(&mut input, &limits).map_err(|error| match error {
                HandshakeError::HeadTooLong { .. } => {
                    HandshakeError::HeadTooLong { max: settings.limits.max_head }
                }
                error => error,
            })?;
            unread = end - input.len()..end;
            let Some(head) = head else { continue };
            let response = Response::parse(&head, &limits)?;
            // RFC 9110 §15.2: a client takes interim responses before the final one, of which it may know
            // nothing. 101 is the final one for whoever asked for it (§15.2.2).
            if matches!(response.status, 100 | 102..=199) {
                interim += 1;
                if interim > MAX_INTERIM {
                    return Err(ConnectError::Interim);
                }
                // All heads together are as long as one may be.
                limits.max_head -= head.as_bytes().len();
                continue;
            }
            let rest = unread;
            if response.status != 101 {
                let headers = owned(&response);
                return Err(self.refusal(response.status, headers, &buffer[rest]));
            }
            let agreement = response.verify(request)?;
            let accepted = Accepted {
                protocol: agreement.protocol.map(str::to_owned),
                terms: settings.accept(&agreement.extensions)?,
                headers: owned(&response),
            };
            return Ok((accepted, rest));
        }
    }

    /// What the server says instead of agreeing. `body` is what came behind its head.
    fn refusal(
        &mut self,
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
        body: &[u8],
    ) -> ConnectError {
        let mut refusal = Refusal { status, headers, body: String::new() };
        let len = refusal.body_len();
        let mut body = body[..body.len().min(len)].to_vec();
        let mut buffer = [0; Refusal::MAX_BODY];
        while body.len() < len {
            // Half a reason is better than none.
            let Ok(read) = self.read(&mut buffer[..len - body.len()]) else { break };
            body.extend_from_slice(&buffer[..read]);
        }
        refusal.body = String::from_utf8_lossy(&body).into_owned();
        ConnectError::Refused(Box::new(refusal))
    }

    /// Reads at least one byte.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ConnectError> {
        loop {
            let left = self.left()?;
            match stream::read(self.stream, buffer, Some(left)) {
                Ok(0) => return Err(ConnectError::Ended),
                Ok(read) => return Ok(read),
                Err(error) => check(error)?,
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), ConnectError> {
        while !bytes.is_empty() {
            let left = self.left()?;
            match stream::write(self.stream, bytes, left) {
                Ok(0) => return Err(ConnectError::Ended),
                Ok(written) => bytes = &bytes[written..],
                Err(error) => check(error)?,
            }
        }
        stream::guarded(|| self.stream.flush()).map_err(ConnectError::Lost)
    }

    /// What is left of the time, which is not zero.
    fn left(&self) -> Result<Duration, ConnectError> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ConnectError::Timeout),
            left => Ok(left),
        }
    }
}

impl Refusal {
    /// Bytes to read of the body: of plain text that comes as it is, the start.
    fn body_len(&self) -> usize {
        let says = |name, prefix: &str| {
            self.header(name).is_some_and(|value| {
                let start = value.get(..prefix.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
            })
        };
        if !says("Content-Type", "text/plain") || says("Transfer-Encoding", "") {
            return 0;
        }
        let announced = self.header("Content-Length").and_then(|len| str::from_utf8(len).ok());
        let announced = announced.and_then(|len| len.parse().ok());
        announced.unwrap_or(Self::MAX_BODY).min(Self::MAX_BODY)
    }
}

/// Lets what asks for another try pass.
fn check(error: io::Error) -> Result<(), ConnectError> {
    match error.kind() {
        // Where the time is up, the next try finds out.
        ErrorKind::Interrupted => Ok(()),
        _ if is_timeout(&error) => Ok(()),
        _ => Err(ConnectError::Lost(error)),
    }
}

fn owned(response: &Response<'_>) -> Vec<(String, Vec<u8>)> {
    response.headers.iter().map(|&(name, value)| (name.to_owned(), value.to_vec())).collect()
}

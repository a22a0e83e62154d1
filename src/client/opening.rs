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
    stream::{Stream, is_timeout},
};
use crate::protocol::{
    connection::Settings,
    extension::{Offer, deflate::Agreed},
    handshake::{ClientRequest, HeadReader, Response},
};

/// What the server agreed to.
#[derive(Debug)]
pub(super) struct Accepted {
    pub protocol: Option<String>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub deflate: Option<Agreed>,
}

/// A stream with a deadline.
pub(super) struct Opening<'s, S> {
    pub stream: &'s mut S,
    pub until: Instant,
}

impl<S: Stream> Opening<'_, S> {
    /// Sends `request` and reads the answer into `buffer`, where it leaves what came behind it: the
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
        let mut reader = HeadReader::default();
        loop {
            let end = self.read(buffer)?;
            let mut input = &mut buffer[..end];
            let Some(head) = reader.read(&mut input, &settings.limits)? else { continue };
            let rest = end - input.len()..end;
            let response = Response::parse(&head, &settings.limits)?;
            if response.status != 101 {
                let headers = owned(&response);
                return Err(self.refusal(response.status, headers, &buffer[rest]));
            }
            let agreement = response.verify(request)?;
            let accepted = Accepted {
                protocol: agreement.protocol.map(str::to_owned),
                deflate: accept_deflate(settings, &agreement.extensions)?,
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
            self.stream.set_read_timeout(Some(left)).map_err(ConnectError::Lost)?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(ConnectError::Ended),
                Ok(read) => return Ok(read),
                Err(error) => check(error)?,
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), ConnectError> {
        while !bytes.is_empty() {
            let left = self.left()?;
            self.stream.set_write_timeout(Some(left)).map_err(ConnectError::Lost)?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(ConnectError::Ended),
                Ok(written) => bytes = &bytes[written..],
                Err(error) => check(error)?,
            }
        }
        self.stream.flush().map_err(ConnectError::Lost)
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

/// What the server's extensions come to: only such as were offered are there.
#[cfg(feature = "deflate")]
fn accept_deflate(
    settings: &Settings,
    extensions: &[Offer<'_>],
) -> Result<Option<Agreed>, ConnectError> {
    use crate::protocol::handshake::ResponseError;

    match (&settings.deflate, extensions) {
        (_, []) => Ok(None),
        (Some(deflate), [response]) => {
            deflate.accept(response).map(Some).map_err(ConnectError::Deflate)
        }
        // RFC 7692 §5.1: one offer is accepted, not two.
        _ => Err(ResponseError::Extensions.into()),
    }
}

#[cfg(not(feature = "deflate"))]
fn accept_deflate(_: &Settings, _: &[Offer<'_>]) -> Result<Option<Agreed>, ConnectError> {
    Ok(None)
}

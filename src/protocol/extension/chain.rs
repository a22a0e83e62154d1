//! The extensions of one's own that a connection has agreed on, one behind the other.

use std::fmt;

use super::{DataFrame, ExtensionError, Offer, Transform, parse};
use crate::{
    guard::guard,
    protocol::{close::CloseCode, frame::Header, frame::Rsv},
};

/// What data frames pass on their way in and out.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Chain {
    links: Vec<Link>,
    claimed: Rsv,
}

/// One extension, as agreed on.
struct Link {
    /// What the response says of it.
    response: Box<str>,
    rsv: Rsv,
    /// There until it is dropped.
    transform: Option<Box<dyn Transform>>,
}

impl Chain {
    /// Adds an extension that was agreed on with this `response` and claims these bits.
    pub(in crate::protocol) fn push(
        &mut self,
        response: &Offer<'_>,
        rsv: Rsv,
        transform: Box<dyn Transform>,
    ) {
        let response = response.to_string().into();
        self.links.push(Link { response, rsv, transform: Some(transform) });
        self.claimed = self.claimed.with(rsv);
    }

    pub(in crate::protocol) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The reserved bits that data frames may have set.
    pub(in crate::protocol) fn claimed(&self) -> Rsv {
        self.claimed
    }

    /// What was agreed on, in order.
    pub(in crate::protocol) fn offers(&self) -> impl Iterator<Item = Offer<'_>> {
        self.links.iter().flat_map(|link| parse([link.response.as_bytes()]).unwrap_or_default())
    }

    /// Changes a data frame to be sent, whose payload may grow to `max` bytes; gives its header (§9.1:
    /// the first works first).
    pub(in crate::protocol) fn outgoing(
        &mut self,
        mut header: Header,
        payload: &mut Vec<u8>,
        max: usize,
    ) -> Result<Header, ExtensionError> {
        for link in &mut self.links {
            let rsv = link.pass(&header, Rsv::NONE, payload, max, |transform, frame| {
                transform.outgoing(frame)
            })?;
            header.rsv = header.rsv.with(rsv);
        }
        Ok(header)
    }

    /// Changes back a data frame that was received; gives its header, without the bits that are claimed
    /// here.
    pub(in crate::protocol) fn incoming(
        &mut self,
        mut header: Header,
        payload: &mut Vec<u8>,
        max: usize,
    ) -> Result<Header, ExtensionError> {
        for link in self.links.iter_mut().rev() {
            let rsv = header.rsv.and(link.rsv);
            link.pass(&header, rsv, payload, max, |transform, frame| transform.incoming(frame))?;
            header.rsv = header.rsv.without(link.rsv);
        }
        header.payload_len = payload.len() as u64;
        Ok(header)
    }
}

impl Link {
    /// Has the frame pass; gives the extension's reserved bits behind it.
    fn pass(
        &mut self,
        header: &Header,
        rsv: Rsv,
        payload: &mut Vec<u8>,
        max: usize,
        work: impl FnOnce(&mut dyn Transform, &mut DataFrame<'_>) -> Result<(), ExtensionError>,
    ) -> Result<Rsv, ExtensionError> {
        let &Header { fin, opcode, .. } = header;
        let mut frame = DataFrame { fin, opcode, rsv, claimed: self.rsv, payload, max };
        let transform = self.transform.as_deref_mut().expect("it is there until it is dropped");
        guard(|| work(transform, &mut frame)).unwrap_or(Err(PANICKED))?;
        Ok(frame.rsv)
    }
}

const PANICKED: ExtensionError =
    ExtensionError::new(CloseCode::INTERNAL_ERROR, "an extension panicked");

impl Drop for Link {
    /// A panic ends here: it has told of itself, and the connection is gone anyway.
    fn drop(&mut self) {
        let transform = self.transform.take();
        guard(|| drop(transform)).ok();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.response)
    }
}

//! What stands for permessage-deflate where the feature `deflate` is off: settings of which there are
//! none, so that nobody can agree to anything.

use std::fmt;

use super::Offer;
use crate::protocol::{
    Role,
    buffer::{Buffer, Pool},
    error::ProtocolError,
    frame::{Opcode, Rsv},
    limits::SettingError,
    utf8::Utf8Checker,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Never {}

/// There are no settings without the feature `deflate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deflate(Never);

/// Nothing is agreed without the feature `deflate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agreed(Never);

/// There is none without the feature `deflate`.
#[derive(Debug)]
pub struct Grant(Never);

/// There is none without the feature `deflate`.
#[derive(Debug)]
pub struct Takeover(Never);

/// There are none without the feature `deflate`.
#[derive(Debug, Default)]
pub struct Codecs {}

/// There are none without the feature `deflate`.
#[derive(Debug, Clone, Default)]
pub struct Takeovers {}

/// There is none without the feature `deflate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unacceptable(Never);

#[derive(Debug)]
pub(in crate::protocol) struct Inflating(Never);

pub(in crate::protocol) struct Direction(Never);

impl Deflate {
    /// Needs the feature `deflate`.
    pub fn check(&self) -> Result<(), SettingError> {
        match self.0 {}
    }

    /// Needs the feature `deflate`.
    pub fn is_legal(&self) -> bool {
        match self.0 {}
    }

    /// Needs the feature `deflate`.
    pub fn leaves_window(&self) -> bool {
        match self.0 {}
    }

    /// Needs the feature `deflate`.
    pub fn covers_raw(&self) -> bool {
        match self.0 {}
    }

    pub(in crate::protocol) fn claims(&self) -> (&'static str, Rsv) {
        match self.0 {}
    }

    /// Needs the feature `deflate`.
    pub fn offers(&self) -> Vec<Offer<'static>> {
        match self.0 {}
    }

    /// Needs the feature `deflate`.
    pub fn accept(&self, _: &Offer<'_>) -> Result<Agreed, Unacceptable> {
        match self.0 {}
    }

    /// Needs the feature `deflate`.
    pub fn answer_counted(
        &self,
        _: &[Offer<'_>],
        _: &Takeovers,
    ) -> Option<(Agreed, Offer<'static>, Option<Grant>)> {
        match self.0 {}
    }
}

impl From<Grant> for Takeover {
    fn from(grant: Grant) -> Self {
        match grant.0 {}
    }
}

impl fmt::Display for Unacceptable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl Agreed {
    /// Needs the feature `deflate`.
    pub fn terms(self) -> Offer<'static> {
        match self.0 {}
    }

    /// Needs the feature `deflate`.
    pub fn servers(self) -> (u8, bool) {
        match self.0 {}
    }

    pub(in crate::protocol) fn sent_by(self, _: Role) -> Direction {
        match self.0 {}
    }

    pub(in crate::protocol) fn received_by(self, _: Role) -> Direction {
        match self.0 {}
    }
}

impl Direction {
    pub(in crate::protocol) fn compress<'c>(
        self,
        _: Opcode,
        _: &[u8],
        _: &Deflate,
        _: &mut Option<Box<Takeover>>,
        _: &'c mut Codecs,
    ) -> Option<&'c [u8]> {
        match self.0 {}
    }

    pub(in crate::protocol) fn begin(
        self,
        _: &mut Option<Box<Takeover>>,
        _: usize,
        _: &mut Pool,
    ) -> Inflating {
        match self.0 {}
    }
}

impl Inflating {
    pub(in crate::protocol) fn inflate(
        &mut self,
        _: &[u8],
        _: &mut Buffer,
        _: Option<&mut Utf8Checker>,
        _: &mut Pool,
    ) -> Result<(), ProtocolError> {
        match self.0 {}
    }

    pub(in crate::protocol) fn finish(
        &mut self,
        _: &mut Buffer,
        _: Option<&mut Utf8Checker>,
        _: &mut Pool,
    ) -> Result<(), ProtocolError> {
        match self.0 {}
    }

    pub(in crate::protocol) fn keep(&mut self, _: &Buffer) {
        match self.0 {}
    }

    pub(in crate::protocol) fn end(self, _: &Buffer, _: &mut Option<Box<Takeover>>, _: &mut Pool) {
        match self.0 {}
    }
}

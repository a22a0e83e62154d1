//! What stands for compression where the feature `deflate` is off: there is nothing to compress with.

use super::{Compressions, Members, Packed, TopicDeflate};
use crate::protocol::message::Message;

pub(super) enum Packer {}

impl Packer {
    pub(super) fn new(_: TopicDeflate) -> Option<Self> {
        None
    }

    pub(super) fn pack(&mut self, _: &Message<'_>, _: u64, _: &mut Members) -> Packed {
        match *self {}
    }

    pub(super) fn shrink(&mut self, _: &mut Members) {
        match *self {}
    }

    pub(super) fn made(&self) -> Compressions {
        match *self {}
    }
}

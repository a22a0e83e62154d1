//! Values in JSON: a step on top of messages.

use serde::{Serialize, de::DeserializeOwned};

use super::{Client, Receiver, Sender, Stream, TimedOut};
use crate::{
    convert::{ConvertError, SendValueError},
    protocol::message::Message,
};

impl<S: Stream> Client<Message<'static>, S> {
    /// Sends `value` in JSON; see [`send`](Self::send).
    ///
    /// # Errors
    /// [`SendValueError`]; where the value is at fault nothing was sent, and the connection goes on.
    pub fn send_as<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SendValueError> {
        Ok(self.send(Message::from_value(value)?)?)
    }

    /// The value that the next message stands for in JSON; see [`recv`](Self::recv).
    ///
    /// # Errors
    /// [`TimedOut`] as there, and inside [`ConvertError`]: that message is gone. The connection goes on
    /// after either.
    pub fn recv_as<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<Result<T, ConvertError>>, TimedOut> {
        self.receiver.recv_as()
    }
}

impl<S: Stream> Sender<Message<'static>, S> {
    /// Sends `value` in JSON; see [`Client::send_as`].
    ///
    /// # Errors
    /// As there.
    pub fn send_as<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SendValueError> {
        Ok(self.send(Message::from_value(value)?)?)
    }
}

impl<S: Stream> Receiver<Message<'static>, S> {
    /// The value that the next message stands for in JSON; see [`Client::recv_as`].
    ///
    /// # Errors
    /// As there.
    pub fn recv_as<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<Result<T, ConvertError>>, TimedOut> {
        Ok(self.recv()?.map(|message| message.to_value()))
    }
}

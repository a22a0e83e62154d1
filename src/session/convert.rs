//! Sessions that send and receive values: a step on top of messages.

#[cfg(feature = "json")]
use serde::{Serialize, de::DeserializeOwned};

use super::{Receiver, Sender, Session};
#[cfg(feature = "json")]
use crate::convert::Json;
use crate::convert::{ConvertError, Decode, Encode, SendValueError};

impl Sender {
    /// Sends `value` in JSON, as [`send`](Self::send) does a message.
    ///
    /// # Errors
    /// [`SendValueError`]; where the value is at fault nothing was sent, and the session goes on.
    #[cfg(feature = "json")]
    pub async fn send_as<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), SendValueError> {
        self.send_with(&Json, value).await
    }

    /// Sends `value` as `converter` writes it.
    ///
    /// # Errors
    /// [`SendValueError`]; where the value is at fault nothing was sent, and the session goes on.
    pub async fn send_with<T: ?Sized>(
        &self,
        converter: &impl Encode<T>,
        value: &T,
    ) -> Result<(), SendValueError> {
        Ok(self.send(converter.encode(value)?).await?)
    }
}

impl Receiver {
    /// The value that the next message stands for in JSON; `None` once the connection has ended and all
    /// that came before was received.
    ///
    /// ```
    /// use chinwag::{Session, session};
    ///
    /// async fn sum(mut session: Session) -> session::Result {
    ///     let mut sum = 0;
    ///     while let Some(number) = session.recv_as::<i64>().await {
    ///         match number {
    ///             Ok(number) => sum += number,
    ///             Err(error) => session.send(error.to_string()).await?,
    ///         }
    ///         session.send_as(&sum).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ConvertError`]: that message is gone, and the session goes on.
    #[cfg(feature = "json")]
    pub async fn recv_as<T: DeserializeOwned>(&mut self) -> Option<Result<T, ConvertError>> {
        self.recv_with(&Json).await
    }

    /// The value that `converter` reads from the next message; `None` as [`recv`](Self::recv) gives it.
    ///
    /// # Errors
    /// [`ConvertError`]: that message is gone, and the session goes on.
    pub async fn recv_with<T>(
        &mut self,
        converter: &impl Decode<T>,
    ) -> Option<Result<T, ConvertError>> {
        Some(converter.decode(&self.recv().await?))
    }
}

impl Session {
    /// As [`Receiver::recv_as`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "json")]
    pub async fn recv_as<T: DeserializeOwned>(&mut self) -> Option<Result<T, ConvertError>> {
        self.receiver.recv_as().await
    }

    /// As [`Receiver::recv_with`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv_with<T>(
        &mut self,
        converter: &impl Decode<T>,
    ) -> Option<Result<T, ConvertError>> {
        self.receiver.recv_with(converter).await
    }
}

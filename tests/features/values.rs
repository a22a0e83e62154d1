//! Values instead of messages.

use chinwag::{
    Message, Peer, Request, Server, Service, Session,
    convert::{ConvertError, Decode, Encode, SendValueError},
    testing,
};

use crate::close_of;

#[test]
fn row_06_content_converters() {
    type Pair = (u8, String);

    /// A number and a text with an equals sign between them, in binary messages.
    struct Equals;

    impl Encode<Pair> for Equals {
        fn encode(&self, (number, text): &Pair) -> Result<Message<'static>, ConvertError> {
            Ok(format!("{number}={text}").into_bytes().into())
        }
    }

    impl Decode<Pair> for Equals {
        fn decode(&self, message: &Message<'_>) -> Result<Pair, ConvertError> {
            let Message::Binary(bytes) = message else {
                return Err(ConvertError::WrongKind { opcode: message.opcode() });
            };
            let text = str::from_utf8(bytes).map_err(ConvertError::bad_value)?;
            let parts = text.split_once('=').ok_or_else(|| ConvertError::bad_value("no '='"))?;
            Ok((parts.0.parse().map_err(ConvertError::bad_value)?, parts.1.into()))
        }
    }

    async fn tell(session: &Session, pair: Option<Result<Pair, ConvertError>>) -> &'static str {
        match pair {
            Some(Ok(_)) => "a value",
            Some(Err(ConvertError::WrongKind { .. })) => "of the wrong kind",
            Some(Err(ConvertError::BadValue(_))) => "not such a value",
            None => {
                assert!(session.close_reason().is_some());
                "the end"
            }
        }
    }

    let builder = Server::builder()
        .websocket("/json", |mut session: Session| async move {
            loop {
                let pair = session.recv_as::<Pair>().await;
                let told = tell(&session, pair).await;
                session.send_as(told).await?;
            }
        })
        .websocket("/equals", |mut session: Session| async move {
            loop {
                let pair = session.recv_with(&Equals).await;
                let told = tell(&session, pair).await;
                session.send_with(&Equals, &(7, told.into())).await?;
            }
        })
        .websocket("/unspeakable", |session: Session| async move {
            // JSON has no such map, so nothing is sent, and the session goes on.
            let map = std::collections::BTreeMap::from([(vec![1], 2)]);
            let error = session.send_as(&map).await.unwrap_err();
            assert!(matches!(error, SendValueError::Convert(ConvertError::BadValue(_))));
            session.send("still here").await?;
            Ok(())
        });
    let server = testing::Server::new(builder);

    let mut client = server.connect("/json").unwrap();
    for (message, told) in [
        (Message::from(r#"[7, "seven"]"#), "a value"),
        (Message::from(r#"[256, "too many"]"#), "not such a value"),
        (Message::from("7=seven"), "not such a value"),
        (Message::from(&br#"[7, "seven"]"#[..]), "of the wrong kind"),
        (Message::from(r#"[7, "seven"]"#), "a value"),
    ] {
        client.send(message);
        assert_eq!(client.recv_as::<String>(), told);
    }
    // The answer to the end is not sent, and that is no error of the session's.
    client.close(chinwag::CloseCode::NORMAL, "bye");
    assert_eq!(close_of(&mut client), (1000, "bye".into()));

    let mut client = server.connect("/equals").unwrap();
    for (message, told) in [
        (Message::from("7=seven"), "of the wrong kind"),
        (Message::from(&b"7=seven"[..]), "a value"),
        (Message::from(&b"\xff"[..]), "not such a value"),
    ] {
        client.send(message);
        assert_eq!(client.recv_binary(), format!("7={told}").as_bytes());
    }

    let mut client = server.connect("/unspeakable").unwrap();
    assert_eq!(client.recv_text(), "still here");
    assert_eq!(close_of(&mut client), (1000, "".into()));
    assert_eq!(server.counters().panics.get(), 0);
}

#[test]
fn row_44_objects_both_ways() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Said {
        by: String,
        words: Vec<String>,
    }

    /// Turns words round.
    struct Turns;

    impl Service for Turns {
        fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
            match message.to_value::<Said>() {
                Ok(mut said) => {
                    said.words.reverse();
                    peer.send_as(&said).unwrap();
                }
                Err(error) => peer.send(format!("{error}")).unwrap(),
            }
        }
    }

    let builder = Server::builder().service("/", |_: &Request<'_>| Turns);
    let server = testing::Server::new(builder);
    let mut client = server.connect("/").unwrap();
    let said = |words: [&str; 2]| Said { by: "Anna".into(), words: words.map(Into::into).into() };
    client.send_as(&said(["one", "two"]));
    assert_eq!(client.recv_as::<Said>(), said(["two", "one"]));
    client.send("[]");
    assert!(client.recv_text().starts_with("a value that does not fit"));
    client.send_as(&said(["still", "here"]));
    assert_eq!(client.recv_as::<Said>(), said(["here", "still"]));
}

//! Whatever a peer may send before the connection is open (§4), whole and in pieces.

use chinwag::{
    Limits,
    protocol::handshake::{
        ClientRequest, HandshakeError, Head, HeadReader, Request, Response, ServerResponse,
    },
};

use super::memory;

/// Byte 0: bit 0 a response instead of a request, bit 1 the limits. Byte 1 is the size of the pieces.
/// The rest is what the peer sends; its first bytes are also what a client asks for.
pub fn check(data: &[u8]) {
    let [choice, size, wire @ ..] = data else { return };
    let limits = if choice & 2 == 0 {
        Limits::default()
    } else {
        Limits { max_head: 300, max_head_line: 100, max_headers: 6, ..Limits::default() }
    };
    let head = Head::read(wire, &limits);
    for size in [wire.len(), usize::from(*size), 1] {
        let read = read(wire, size.max(1), &limits);
        assert_eq!(read.as_deref(), head.as_ref().map(Head::as_bytes), "in pieces of {size}");
    }
    if let Ok(head) = &head {
        let bytes = head.as_bytes();
        assert!(bytes.len() <= limits.max_head && bytes.ends_with(b"\r\n\r\n"));
        let alone = Head::read(bytes, &limits);
        assert_eq!(alone.as_ref(), Ok(head), "what stands behind a head changes nothing");
    }
    match (&head, choice & 1) {
        (Ok(head), 0) => check_request(head, &limits),
        (Ok(head), _) => check_response(head, &limits),
        (Err(HandshakeError::Unfinished), _) => {
            assert!(wire.len() <= limits.max_head, "more than a head is taken in");
        }
        (Err(error), _) => check_error(*error),
    }
    check_conversation(wire);
}

/// The head that a reader makes of pieces of `size` bytes.
fn read(wire: &[u8], size: usize, limits: &Limits) -> Result<Vec<u8>, HandshakeError> {
    let mut copy = wire.to_vec();
    let before = memory::held();
    let mut reader = HeadReader::default();
    for (piece, arrived) in copy.chunks_mut(size).zip(1..) {
        let mut piece = piece;
        let head = reader.read(&mut piece, limits)?.map(|head| head.as_bytes().to_vec());
        if let Some(head) = head {
            let rest = wire.strip_prefix(&*head).expect("a head is what was sent");
            assert!(rest.starts_with(piece) && head.len() + piece.len() <= arrived * size);
            return Ok(head);
        }
        assert!(piece.is_empty(), "all of the input is used up");
        let held = memory::held() - before;
        assert!(held <= 2 * limits.max_head as isize, "{held} bytes held");
    }
    Err(HandshakeError::Unfinished)
}

fn check_error(error: HandshakeError) {
    assert!(matches!(error.status(), 400 | 405 | 408 | 414 | 426 | 431 | 505), "{error:?}");
    assert!(!error.to_string().is_empty());
}

/// An upgrade can be answered.
fn check_request(head: &Head<'_>, limits: &Limits) {
    let request = Request::parse(head, limits);
    let upgrade = request.and_then(|request| {
        assert!(request.path.starts_with('/') && !request.host().is_empty());
        assert!(request.headers.len() <= limits.max_headers);
        request.upgrade().map(|upgrade| upgrade.map(|upgrade| answer(upgrade.key)))
    });
    if let Err(error) = upgrade {
        check_error(error);
    }
}

/// The answer to a key is a response.
fn answer(key: &str) {
    let response = ServerResponse { key, protocol: None, extensions: &[], headers: &[] };
    let bytes = response.encode().expect("the key was checked");
    let limits = Limits::default();
    let head = Head::read(&bytes, &limits).expect("it is a head");
    let response = Response::parse(&head, &limits).expect("it is well formed");
    assert_eq!(response.status, 101);
}

fn check_response(head: &Head<'_>, limits: &Limits) {
    let response = Response::parse(head, limits);
    match response {
        Ok(response) => {
            let request = client_request("/", &[], &[]);
            if let Ok(agreement) = response.verify(&request) {
                assert_eq!(response.status, 101);
                assert!(agreement.protocol.is_none() && agreement.extensions.is_empty());
            }
        }
        Err(error) => check_error(error),
    }
}

/// What a client may ask for, a server understands and answers, and the client agrees.
fn check_conversation(asked: &[u8]) {
    let mut lines = asked.splitn(4, |&byte| byte == b'\n').map(|line| str::from_utf8(line).ok());
    let (Some(Some(target)), Some(Some(protocols)), Some(Some(header))) =
        (lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    let protocols: Vec<_> = protocols.split(' ').collect();
    let headers = [("X-Header", header)];
    let client = client_request(target, &protocols, &headers);
    // A client that is asked for what may not be sent sends nothing.
    let Ok(bytes) = client.encode() else { return };

    let limits = Limits { max_head: 1 << 20, max_head_line: 1 << 20, ..Limits::default() };
    let head = Head::read(&bytes, &limits).expect("a client sends heads");
    let request = Request::parse(&head, &limits).expect("a client sends legal requests");
    let upgrade = request.upgrade().expect("and asks as §4.1 has it").expect("for a WebSocket");
    assert_eq!(upgrade.key, client.key());
    assert_eq!(upgrade.protocols, protocols);
    assert_eq!(
        request.query.map_or(request.path.len(), |q| request.path.len() + 1 + q.len()),
        target.len()
    );
    assert_eq!(request.values("x-header").collect::<Vec<_>>(), [header.trim().as_bytes()]);

    let protocol = upgrade.choose_protocol(&protocols[protocols.len() - 1..]);
    assert_eq!(protocol, protocols.last().copied());
    let response = ServerResponse { key: upgrade.key, protocol, extensions: &[], headers: &[] };
    let bytes = response.encode().expect("the protocol is one that was offered");
    let head = Head::read(&bytes, &limits).expect("a server sends heads");
    let response = Response::parse(&head, &limits).expect("a server sends legal responses");
    let agreement = response.verify(&client).expect("and agrees to what was asked");
    assert_eq!(agreement.protocol, protocol);
}

fn client_request<'a>(
    target: &'a str,
    protocols: &'a [&'a str],
    headers: &'a [(&'a str, &'a str)],
) -> ClientRequest<'a> {
    let nonce = *b"the sample nonce";
    ClientRequest { host: "example.com", target, nonce, protocols, extensions: &[], headers }
}

//! Negotiation by table, and messages through both halves of the codec.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::protocol::{
    buffer::{Buffer, Pool},
    error::ProtocolError,
    extension,
    frame::tests::hex,
    utf8::Utf8Checker,
};

// ---- negotiation -------------------------------------------------------------------------------

/// Windows of 15 bits and takeover both ways: what RFC 7692 has where nothing is said.
fn open() -> Deflate {
    Deflate {
        server_window_bits: 15,
        client_window_bits: 15,
        server_takeover: true,
        client_takeover: true,
        ..Deflate::default()
    }
}

/// A server's answer to a header, as the header that says it.
fn answer(settings: &Deflate, header: &str) -> Option<String> {
    let offers = extension::parse([header.as_bytes()]).unwrap();
    settings.answer(&offers).map(|(_, response)| response.to_string())
}

#[test]
fn each_parameter_is_answered() {
    for (name, offer, by_default, when_open) in [
        ("none", "", Some("; server_no_context_takeover; client_no_context_takeover"), Some("")),
        (
            "server_no_context_takeover",
            "; server_no_context_takeover",
            Some("; server_no_context_takeover; client_no_context_takeover"),
            Some("; server_no_context_takeover"),
        ),
        (
            "client_no_context_takeover",
            "; client_no_context_takeover",
            Some("; server_no_context_takeover; client_no_context_takeover"),
            Some("; client_no_context_takeover"),
        ),
        (
            "server_max_window_bits above ours",
            "; server_max_window_bits=15",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
            ),
            Some("; server_max_window_bits=15"),
        ),
        (
            "server_max_window_bits below ours",
            "; server_max_window_bits=9",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
            ),
            Some("; server_max_window_bits=9"),
        ),
        (
            "quoted, which is the same (§9.1)",
            "; server_max_window_bits=\"10\"",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
            ),
            Some("; server_max_window_bits=10"),
        ),
        (
            "client_max_window_bits without a value",
            "; client_max_window_bits",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=12",
            ),
            Some(""),
        ),
        (
            "client_max_window_bits above ours",
            "; client_max_window_bits=15",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=12",
            ),
            Some(""),
        ),
        (
            "client_max_window_bits of 8, which can be inflated",
            "; client_max_window_bits=8",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=8",
            ),
            Some("; client_max_window_bits=8"),
        ),
        (
            "all of them",
            "; client_max_window_bits=10; server_max_window_bits=11; client_no_context_takeover; \
             server_no_context_takeover",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=11; client_max_window_bits=10",
            ),
            Some(
                "; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=11; client_max_window_bits=10",
            ),
        ),
        ("server_max_window_bits of 8", "; server_max_window_bits=8", None, None),
        ("server_max_window_bits without a value", "; server_max_window_bits", None, None),
        ("out of range, below", "; server_max_window_bits=7", None, None),
        ("out of range, above", "; server_max_window_bits=16", None, None),
        ("far out of range", "; client_max_window_bits=4294967304", None, None),
        ("the client's out of range, below", "; client_max_window_bits=7", None, None),
        ("the client's out of range, above", "; client_max_window_bits=16", None, None),
        ("zero-padded", "; server_max_window_bits=09", None, None),
        ("zero-padded, the client's", "; client_max_window_bits=010", None, None),
        ("zero-padded in quotes", "; client_max_window_bits=\"012\"", None, None),
        ("signed", "; client_max_window_bits=+9", None, None),
        ("no number", "; client_max_window_bits=ten", None, None),
        ("a flag with a value", "; server_no_context_takeover=1", None, None),
        ("the client's flag with a value", "; client_no_context_takeover=true", None, None),
        ("a flag with a value in quotes", "; client_no_context_takeover=\"1\"", None, None),
        ("unknown", "; mem_level=8", None, None),
        ("unknown behind known", "; client_max_window_bits; x", None, None),
        ("in another letter case", "; Client_Max_Window_Bits", None, None),
        ("doubled", "; server_max_window_bits=10; server_max_window_bits=10", None, None),
        (
            "doubled, once without",
            "; client_max_window_bits=10; client_max_window_bits",
            None,
            None,
        ),
        ("doubled flag", "; server_no_context_takeover; server_no_context_takeover", None, None),
        (
            "doubled client's flag",
            "; client_no_context_takeover; client_no_context_takeover",
            None,
            None,
        ),
    ] {
        let offer = format!("{NAME}{offer}");
        for (settings, expected) in [(Deflate::default(), by_default), (open(), when_open)] {
            let expected = expected.map(|params| format!("{NAME}{params}"));
            assert_eq!(answer(&settings, &offer), expected, "{name}, {settings:?}");
        }
    }
}

#[test]
fn only_those_with_something_of_their_own_are_counted() {
    let max_takeovers = 1;
    for (name, settings, servers, counts) in [
        ("none", Deflate::default(), false, false),
        ("the server's", Deflate { client_takeover: false, ..open() }, true, true),
        ("the client's", Deflate { server_takeover: false, ..open() }, false, true),
        ("for topics", Deflate::for_topics(), true, false),
        (
            "for topics, and the client's",
            Deflate { client_takeover: true, ..Deflate::for_topics() },
            true,
            true,
        ),
    ] {
        let settings = Deflate { max_takeovers, ..settings };
        let takeovers = Takeovers::default();
        let offers = extension::parse([NAME.as_bytes()]).unwrap();
        let (agreed, _, first) = settings.answer_counted(&offers, &takeovers).unwrap();
        assert_eq!((agreed.server_takeover, first.is_some()), (servers, counts), "{name}");
        assert_eq!(agreed.client_takeover, settings.client_takeover, "{name}");
        let (agreed, _, second) = settings.answer_counted(&offers, &takeovers).unwrap();
        assert!(second.is_none(), "{name}");
        assert_eq!(
            agreed.server_takeover,
            settings.server_takeover && (settings.for_topics || !counts),
            "{name}"
        );
        assert!(!agreed.client_takeover, "{name}");
        drop(first);
        let (.., third) = settings.answer_counted(&offers, &takeovers).unwrap();
        assert_eq!(third.is_some(), counts, "{name}");
    }
}

#[test]
fn the_first_acceptable_offer_counts() {
    for (name, offers, expected) in [
        (
            "the first",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            Some("; server_max_window_bits=10"),
        ),
        (
            "the second",
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; client_no_context_takeover",
            Some("; client_no_context_takeover"),
        ),
        ("behind others", "x-webkit-deflate-frame, foo; a=1, permessage-deflate", Some("")),
        ("none", "permessage-deflate; a, permessage-deflate; b=2", None),
        ("other extensions", "permessage-bzip2, Permessage-Deflate", None),
    ] {
        let expected = expected.map(|params| format!("{NAME}{params}"));
        assert_eq!(answer(&open(), offers), expected, "{name}");
    }
}

#[test]
fn a_client_offers_what_it_wants_and_checks_what_it_gets() {
    use Unacceptable::*;
    let offers = |settings: &Deflate| extension::encode(&settings.offers());
    assert_eq!(offers(&open()), "permessage-deflate; client_max_window_bits");
    assert_eq!(
        offers(&Deflate::default()),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         server_max_window_bits=12; client_max_window_bits=12, \
         permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         client_max_window_bits=12"
    );

    let agreed = |server_window_bits, client_window_bits, server_takeover, client_takeover| {
        Agreed { server_window_bits, client_window_bits, server_takeover, client_takeover }
    };
    let strict = Deflate::default();
    for (name, settings, response, expected) in [
        ("nothing", open(), "", Ok(agreed(15, 15, true, true))),
        (
            "the server's flag",
            open(),
            "; server_no_context_takeover",
            Ok(agreed(15, 15, false, true)),
        ),
        (
            "the client's flag",
            open(),
            "; client_no_context_takeover",
            Ok(agreed(15, 15, true, false)),
        ),
        (
            "windows",
            open(),
            "; server_max_window_bits=8; client_max_window_bits=9",
            Ok(agreed(8, 9, true, true)),
        ),
        (
            "a client window of 8",
            open(),
            "; client_max_window_bits=8",
            Ok(agreed(15, 8, true, true)),
        ),
        ("a client window of none", open(), "; client_max_window_bits", Err(Parameter)),
        ("out of range", open(), "; client_max_window_bits=16", Err(Parameter)),
        ("zero-padded", open(), "; server_max_window_bits=09", Err(Parameter)),
        ("unknown", open(), "; foo", Err(Parameter)),
        (
            "doubled",
            open(),
            "; server_no_context_takeover; server_no_context_takeover",
            Err(Parameter),
        ),
        (
            "no flag that was asked for",
            strict.clone(),
            "; client_no_context_takeover",
            Err(ServerTakeover),
        ),
        (
            "the flag that was asked for",
            strict.clone(),
            "; server_no_context_takeover",
            Ok(agreed(15, 12, false, false)),
        ),
        (
            "a window too large",
            strict.clone(),
            "; server_no_context_takeover; server_max_window_bits=13",
            Err(ServerWindow),
        ),
        (
            "windows kept",
            strict,
            "; server_no_context_takeover; server_max_window_bits=12; client_max_window_bits=10",
            Ok(agreed(12, 10, false, false)),
        ),
    ] {
        let response = format!("{NAME}{response}");
        let response = extension::parse([response.as_bytes()]).unwrap();
        assert_eq!(settings.accept(&response[0]), expected, "{name}");
    }
}

proptest! {
    /// Whatever two endpoints want, a server's answer to a client's offers is one that the client takes,
    /// and both have agreed to the same.
    #[test]
    fn both_ends_agree_to_the_same(client in settings(), server in settings()) {
        let (at_server, response) = server.answer(&client.offers()).expect("every offer can be met");
        let at_client = client.accept(&response).expect("it answers an offer");
        // The client's own window may be smaller than it must be.
        prop_assert!(at_client.client_window_bits <= at_server.client_window_bits);
        prop_assert!(at_server.server_window_bits <= at_client.server_window_bits);
        prop_assert_eq!(at_client.server_takeover, at_server.server_takeover);
        prop_assert_eq!(at_client.client_takeover, at_server.client_takeover);
        prop_assert!(at_client.server_takeover <= server.server_takeover & client.server_takeover);
        prop_assert!(at_client.client_takeover <= server.client_takeover & client.client_takeover);
    }
}

/// Any legal settings.
fn settings() -> impl Strategy<Value = Deflate> {
    (1..=9u8, 1..=9u8, OWN_BITS, OWN_BITS, any::<bool>(), any::<bool>()).prop_map(
        |(
            level,
            mem_level,
            server_window_bits,
            client_window_bits,
            server_takeover,
            client_takeover,
        )| {
            let settings = Deflate {
                level,
                mem_level,
                server_window_bits,
                client_window_bits,
                server_takeover,
                client_takeover,
                ..Deflate::default()
            };
            assert!(settings.is_legal());
            settings
        },
    )
}

// ---- messages ----------------------------------------------------------------------------------

/// Inflates a message given in pieces, behind `window`.
fn inflate<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    window: &[u8],
    max: usize,
) -> Result<Vec<u8>, ProtocolError> {
    let (mut inflater, mut output, mut pool) =
        (Inflater::default(), Buffer::default(), Pool::new(0));
    inflater.begin(window, max);
    for piece in pieces {
        inflater.inflate(piece, window, &mut output, None, &mut pool)?;
        assert!(output.len() <= max, "more than the most is held");
    }
    inflater.finish(window, &mut output, None, &mut pool)?;
    assert!(output.len() <= max, "more than the most is held");
    Ok(output.payload().to_vec())
}

/// A message whole, byte by byte and in two pieces at each offset: all have to agree.
fn inflate_every_way(
    name: &str,
    message: &[u8],
    window: &[u8],
    max: usize,
) -> Result<Vec<u8>, ProtocolError> {
    let whole = inflate([message], window, max);
    assert_eq!(inflate(message.chunks(1), window, max), whole, "{name}, byte by byte");
    for cut in 0..=message.len() {
        let (head, tail) = message.split_at(cut);
        assert_eq!(inflate([head, tail], window, max), whole, "{name}, cut at {cut}");
    }
    whole
}

#[test]
fn the_examples_of_rfc_7692_are_inflated() {
    for (name, message, window, expected) in [
        ("§7.2.3.1", "f2 48 cd c9 c9 07 00", "", Ok("Hello")),
        ("§7.2.3.2, the window shared", "f2 00 11 00 00", "Hello", Ok("Hello")),
        ("§7.2.3.2, without the window", "f2 00 11 00 00", "", Err(ProtocolError::InvalidDeflate)),
        (
            "§7.2.3.3, a block without compression",
            "00 05 00 fa ff 48 65 6c 6c 6f 00",
            "",
            Ok("Hello"),
        ),
        ("§7.2.3.4, a final block", "f3 48 cd c9 c9 07 00 00", "", Ok("Hello")),
        ("§7.2.3.5, two blocks", "f2 48 05 00 00 00 ff ff ca c9 c9 07 00", "", Ok("Hello")),
        ("§7.2.3.6, empty", "00", "", Ok("")),
        ("empty behind a message", "00", "Hello", Ok("")),
        ("a final block without the byte behind it", "f3 48 cd c9 c9 07 00", "", Ok("Hello")),
        (
            "a final block, then one that refers back over it",
            "f3 48 cd c9 c9 07 00 f2 00 11 00 00",
            "",
            Ok("HelloHello"),
        ),
        (
            "a final block behind a message, then one that refers back to that",
            "03 00 f2 00 11 00 00",
            "Hello",
            Ok("Hello"),
        ),
        ("nothing at all", "", "", Err(ProtocolError::InvalidDeflate)),
        ("garbage", "ff ff ff", "", Err(ProtocolError::InvalidDeflate)),
        (
            "garbage behind a final block",
            "f3 48 cd c9 c9 07 00 ff",
            "",
            Err(ProtocolError::InvalidDeflate),
        ),
        (
            "text behind a final block",
            "f3 48 cd c9 c9 07 00 48 65 6c 6c 6f",
            "",
            Err(ProtocolError::InvalidDeflate),
        ),
        ("cut short", "f2 48 cd c9", "", Err(ProtocolError::InvalidDeflate)),
        (
            "cut short inside a stored block",
            "00 05 00 fa ff 48 65",
            "",
            Err(ProtocolError::InvalidDeflate),
        ),
        (
            "the tail sent along, which begins a block that does not end",
            "f2 48 cd c9 c9 07 00 00 00 ff ff",
            "",
            Err(ProtocolError::InvalidDeflate),
        ),
    ] {
        let inflated = inflate_every_way(name, &hex(message), window.as_bytes(), 64);
        let expected = expected.map(|text| text.as_bytes().to_vec());
        assert_eq!(inflated, expected, "{name}");
    }
}

#[test]
fn final_blocks_are_counted() {
    let blocks = |count| hex("03 00").repeat(count);
    assert_eq!(inflate([&blocks(33)[..]], b"", 64), Ok(vec![]));
    assert_eq!(inflate([&blocks(34)[..]], b"", 64), Err(ProtocolError::InvalidDeflate));
}

#[test]
fn a_message_may_come_to_the_most_and_to_no_byte_more() {
    for len in [0, 1, 100, 4095, 4096, 4097, 16 << 10, (16 << 10) + 1, 100_000] {
        let mut message = Vec::new();
        Compressor::new(15, &Deflate::default()).compress(&vec![b'a'; len], &mut message);
        assert_eq!(inflate([&message[..]], b"", len).map(|out| out.len()), Ok(len));
        if let Some(max) = len.checked_sub(1) {
            let too_big = ProtocolError::MessageTooBig { len: len as u64, max };
            assert_eq!(inflate([&message[..]], b"", max), Err(too_big), "{len}");
            assert_eq!(inflate(message.chunks(1), b"", max), Err(too_big), "{len} byte by byte");
        }
    }
}

#[test]
fn text_fails_at_its_first_wrong_step() {
    let mut message = Vec::new();
    let text = [&b"a\xff"[..], &[b'a'; 100_000]].concat();
    Compressor::new(15, &Deflate::default()).compress(&text, &mut message);
    let (mut inflater, mut output, mut pool) =
        (Inflater::default(), Buffer::default(), Pool::new(0));
    inflater.begin(b"", 1 << 20);
    let mut utf8 = Utf8Checker::default();
    let mut feed =
        |piece: &[u8]| inflater.inflate(piece, b"", &mut output, Some(&mut utf8), &mut pool);
    let fails_at = message.iter().position(|&byte| feed(&[byte]).is_err());
    assert!(fails_at.is_some_and(|at| at < 20), "{fails_at:?} of {}", message.len());
    assert!(output.len() <= 4 << 10, "one step");
}

/// Payloads that repeat themselves and each other, and some that don't.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let word = select(vec![
        "{\"from\":\"",
        "\",\"text\":\"",
        "the same words ",
        "again and ",
        "\"}",
        "é世",
    ]);
    prop_oneof![
        6 => vec(word, 0..60).prop_map(|words| words.concat().into_bytes()),
        2 => vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), 0..70_000usize).prop_map(|(byte, len)| vec![byte; len]),
        1 => vec(any::<u8>(), 20_000..40_000),
    ]
}

/// How the first block of a compressed message is coded (RFC 1951 §3.2.3).
fn coding(message: &[u8]) -> &'static str {
    match message[0] >> 1 & 3 {
        0 => "stored",
        1 => "fixed codes",
        2 => "codes of its own",
        _ => "reserved",
    }
}

#[test]
fn only_short_messages_that_refer_to_no_other_are_compressed_quickly() {
    // Of ten letters alone: codes of their own pay.
    let digits: Vec<u8> = (1..=400u32).map(|n| b'0' + (n.pow(3) / 7 % 10) as u8).collect();
    let (fixed, own) = ("fixed codes", "codes of its own");
    let once = Deflate::default();
    let takeover = Deflate { server_takeover: true, ..Deflate::default() };
    let cases = [
        (&once, 255, fixed),
        (&once, 256, own),
        (&Deflate { level: 9, ..once.clone() }, 255, fixed),
        (&Deflate { quick_below: 0, ..once.clone() }, 255, own),
        (&Deflate { quick_below: 300, ..once.clone() }, 299, fixed),
        (&Deflate { level: 1, ..once.clone() }, 400, fixed),
        (&takeover, 255, own),
        // Left to topics: what goes to one alone refers to no other.
        (&Deflate { for_topics: true, ..takeover.clone() }, 255, fixed),
    ];
    let mut codecs = Codecs::default();
    for (settings, len, coded) in cases {
        let direction = Agreed {
            server_window_bits: 12,
            client_window_bits: 12,
            server_takeover: settings.server_takeover,
            client_takeover: false,
        }
        .sent_by(crate::protocol::Role::Server);
        let message = direction.compress(
            Opcode::Text,
            &digits[..len],
            settings,
            &mut None,
            &mut codecs,
            &mut 0,
        );
        let message = message.expect("no condition panics");
        assert_eq!(message.map(coding), Some(coded), "{len} B, {settings:?}");
        let inflated = inflate([message.unwrap_or_default()], b"", len);
        assert_eq!(inflated.as_deref(), Ok(&digits[..len]), "{len} B, {settings:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Messages come out as they went in, with and without takeover, and the window is kept as agreed: an
    /// inflater of exactly that window inflates them.
    #[test]
    fn what_is_compressed_is_inflated_with_exactly_its_window(
        settings in settings(),
        bits in OWN_BITS,
        takeover in any::<bool>(),
        payloads in vec(payload(), 1..8),
        size in 1..5000usize,
    ) {
        let mut compressor = Compressor::new(bits, &settings);
        let mut exact = zlib_rs::Inflate::new(false, bits);
        let mut said = Vec::new();
        for payload in &payloads {
            let mut message = Vec::new();
            compressor.compress(payload, &mut message);
            let window = &said[said.len() - said.len().min(1 << bits)..];
            let window = if takeover { window } else { &[] };
            let inflated = inflate(message.chunks(size), window, payload.len());
            prop_assert!(inflated.as_ref() == Ok(payload), "window of {} bytes", window.len());

            message.extend([0, 0, 0xff, 0xff]);
            prop_assert_eq!(&pieces(&mut exact, &message), payload);
            said.extend(payload);
            if !takeover {
                compressor.reset();
                exact = zlib_rs::Inflate::new(false, bits);
            }
        }
    }
}

/// Inflates with small outputs, so that nothing but the window can be referred to.
fn pieces(inflate: &mut zlib_rs::Inflate, mut input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    loop {
        let mut step = [0; 64];
        let (read, written) = (inflate.total_in(), inflate.total_out());
        inflate.decompress(input, &mut step, zlib_rs::InflateFlush::NoFlush).expect("legal");
        input = &input[(inflate.total_in() - read) as usize..];
        let written = (inflate.total_out() - written) as usize;
        output.extend(&step[..written]);
        if written < step.len() && input.is_empty() {
            return output;
        }
    }
}

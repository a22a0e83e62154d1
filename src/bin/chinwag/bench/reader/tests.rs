use super::*;

/// A frame as a server sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        len @ 0..=125 => wire.push(len as u8),
        len @ 126..=0xffff => {
            wire.push(126);
            wire.extend((len as u16).to_be_bytes());
        }
        len => {
            wire.push(127);
            wire.extend((len as u64).to_be_bytes());
        }
    }
    wire.extend(payload);
    wire
}

/// What comes out of `pieces`, one line an item, up to the first error.
fn read(pieces: &[&[u8]], care: Care) -> Vec<String> {
    let mut reader = Reader::new(true);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match reader.next(&mut input, care) {
                Ok(Some(item)) => seen.push(format!("{item:?}")),
                Ok(None) => break assert_eq!(input, b"", "all is taken"),
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return seen;
                }
            }
        }
    }
    seen
}

fn messages(lens: &[usize], care: Care) -> (Vec<u8>, Vec<String>) {
    let mut wire = Vec::new();
    let mut expected = Vec::new();
    for &len in lens {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        wire.extend(frame(0x82, &payload));
        let payload = (care == Care::Read).then_some(&*payload);
        let (opcode, compressed, len) = (Opcode::Binary, false, len as u64);
        let reply = Reply { opcode, compressed, len, payload };
        expected.push(format!("{:?}", Item::Message(reply)));
    }
    (wire, expected)
}

#[test]
fn messages_of_every_length_are_counted_and_read_at_every_cut() {
    for care in [Care::Count, Care::Read] {
        let (wire, expected) = messages(&[0, 1, 125, 126, 127, 0, 300], care);
        for cut in 0..=wire.len() {
            assert_eq!(read(&[&wire[..cut], &wire[cut..]], care), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(read(&bytes, care), expected, "byte by byte");
    }
}

#[test]
fn long_messages_are_too() {
    for care in [Care::Count, Care::Read] {
        let (wire, expected) = messages(&[0xffff, 0x1_0000, 0x1_0001], care);
        let second = 4 + 0xffff;
        for cut in (0..40).chain(second - 4..second + 40).chain([wire.len() - 1]) {
            assert_eq!(read(&[&wire[..cut], &wire[cut..]], care), expected, "cut at {cut}");
        }
        for size in [7, 4_096, 65_536] {
            let pieces: Vec<&[u8]> = wire.chunks(size).collect();
            assert_eq!(read(&pieces, care), expected, "in pieces of {size}");
        }
    }
}

#[test]
fn expected_messages_are_counted_at_every_cut_as_others_are() {
    for expected_len in [0, 5, 125, 126, 300] {
        let lens = [expected_len, expected_len, 7, expected_len, expected_len, expected_len];
        let (wire, _) = messages(&lens, Care::Count);
        let expected = Expected::new(Opcode::Binary, expected_len);
        for cut in 0..=wire.len() {
            let mut reader = Reader::new(false);
            let (mut counted, mut others) = (0, Vec::new());
            for mut input in [&wire[..cut], &wire[cut..]] {
                loop {
                    counted += reader.count(&mut input, &expected);
                    match reader.next(&mut input, Care::Count).unwrap() {
                        Some(Item::Message(reply)) => others.push(reply.len),
                        Some(other) => panic!("{other:?}"),
                        None => break,
                    }
                }
            }
            // Those that are cut are left to `next`.
            let alike = others.iter().filter(|len| **len == expected_len as u64).count();
            assert_eq!(counted as usize + alike, 5, "{expected_len}, cut at {cut}");
            assert!(alike <= 1 && others.contains(&7), "{expected_len}, cut at {cut}");
        }
    }
}

#[test]
fn what_is_skipped_counts_as_if_it_had_come() {
    let (wire, expected) = messages(&[3, 70_000, 0, 200], Care::Count);
    for size in [1, 5, 1_000] {
        let mut reader = Reader::new(false);
        let mut seen = Vec::new();
        let (mut at, mut skipped) = (0, 0);
        while at < wire.len() {
            let len = reader.skippable();
            reader.skip(len);
            (at, skipped) = (at + len, skipped + len);
            let end = wire.len().min(at + size);
            let mut input = &wire[at..end];
            while let Some(item) = reader.next(&mut input, Care::Count).unwrap() {
                seen.push(format!("{item:?}"));
            }
            at = end;
        }
        assert_eq!(seen, expected, "{size} bytes at a time");
        assert!(skipped > 68_000, "{skipped}");
    }
    let mut reader = Reader::new(false);
    reader.next(&mut &wire[..10], Care::Read).unwrap();
    assert_eq!(reader.skippable(), 0, "what is to be read is not skipped");
}

#[test]
fn fragments_are_one_message_and_control_frames_pass_between_them() {
    let wire = [
        frame(0x41, b"ab"), // RSV1: compressed
        frame(0x89, b"ping"),
        frame(0x00, b""),
        frame(0x8a, b"pong"),
        frame(0x80, b"cd"),
        frame(0x88, b"\x03\xe8bye"),
    ]
    .concat();
    for care in [Care::Count, Care::Read] {
        let payload = (care == Care::Read).then_some(&b"abcd"[..]);
        let reply = Reply { opcode: Opcode::Text, compressed: true, len: 4, payload };
        let expected =
            [Item::Ping(b"ping"), Item::Pong, Item::Message(reply), Item::Close(b"\x03\xe8bye")];
        let expected: Vec<_> = expected.iter().map(|item| format!("{item:?}")).collect();
        for cut in 0..=wire.len() {
            assert_eq!(read(&[&wire[..cut], &wire[cut..]], care), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(read(&bytes, care), expected, "byte by byte");
    }
}

#[test]
fn a_server_that_breaks_a_rule_is_found_out() {
    use ProtocolError as E;
    for (name, wire, error) in [
        ("a masked frame", &b"\x81\x80"[..], E::Masked),
        ("a reserved opcode", b"\x83", E::ReservedOpcode { opcode: 3 }),
        ("nothing to continue", b"\x80\x00", E::NothingToContinue),
        ("a message inside another", b"\x01\x00\x81\x00", E::MessageUnfinished),
        ("a compressed ping", b"\xc9\x00", E::ReservedBits { bits: 4 }),
        ("a compressed continuation", b"\x01\x00\xc0\x00", E::ReservedBits { bits: 4 }),
        ("a length that is too long", b"\x82\x7e\x00\x7d", E::LengthNotMinimal { len: 125 }),
    ] {
        for size in [1, wire.len()] {
            let pieces: Vec<&[u8]> = wire.chunks(size).collect();
            assert_eq!(read(&pieces, Care::Count), [format!("{error:?}")], "{name}");
        }
    }
}

#[test]
fn compression_that_was_not_agreed_on_is_a_fault() {
    let mut input = &b"\xc1\x00"[..];
    assert_eq!(
        Reader::new(false).next(&mut input, Care::Count),
        Err(ProtocolError::ReservedBits { bits: 4 })
    );
}

#[test]
fn a_message_that_is_counted_takes_no_memory_and_a_sample_gives_its_own_back() {
    let mut reader = Reader::new(false);
    let wire = frame(0x82, &[7; 70_000]);
    for (care, holds) in [(Care::Count, false), (Care::Read, true), (Care::Count, false)] {
        for mut piece in wire.chunks(1_000) {
            while reader.next(&mut piece, care).unwrap().is_some() {}
        }
        assert_eq!(reader.kept.capacity() > 0, holds, "{care:?}");
    }
}

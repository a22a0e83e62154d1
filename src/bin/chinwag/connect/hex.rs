//! Bytes as hex digits, and back.

use std::fmt::Write;

/// Two digits a byte.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string takes everything");
        digits
    })
}

/// Bytes from their digits; blanks between bytes are free.
///
/// # Errors
/// What is wrong with `text`, in one line.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        if word.len() % 2 != 0 {
            return Err("a byte is two hex digits".into());
        }
        for pair in word.as_bytes().chunks(2) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err("hex digits are 0 to 9 and a to f".into());
            };
            bytes.push((high << 4 | low) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_and_write_alike() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(decode(&encode(&all)), Ok(all));
        assert_eq!(decode(" 81 05 48656C6c6f "), Ok(b"\x81\x05Hello".to_vec()));
        assert_eq!(decode(""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_hex_is_refused() {
        for text in ["8", "81 5", "8 1", "zz", "+1", "é"] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}

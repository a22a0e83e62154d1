//! The grammar of Sec-WebSocket-Extensions (§9.1), and what permessage-deflate makes of it (RFC 7692 §7).

use std::collections::HashSet;

use chinwag::{
    Deflate,
    protocol::extension::{
        self, Offer,
        deflate::{Agreed, NAME},
    },
};

/// The values of the headers, one a line.
pub fn check(data: &[u8]) {
    let lines = || data.split(|&byte| byte == b'\n');
    let Ok(offers) = extension::parse(lines()) else { return };
    assert!(!offers.is_empty() && offers.iter().all(Offer::is_legal));

    // Lines are one list, and what was read reads back from its shortest form.
    let shortest = offers.iter().map(Offer::to_string).collect::<Vec<_>>().join(", ");
    assert_eq!(extension::parse([shortest.as_bytes()]).as_ref(), Ok(&offers));
    let one_line = lines().collect::<Vec<_>>().join(&b","[..]);
    assert_eq!(extension::parse([&one_line[..]]).as_ref(), Ok(&offers));

    let own = Deflate::default();
    let open = Deflate {
        server_window_bits: 15,
        client_window_bits: 15,
        server_takeover: true,
        client_takeover: true,
        ..Deflate::default()
    };
    for settings in [own, open] {
        check_answer(&settings, &offers);
        for offer in &offers {
            // Whatever a server responds with, the client's verdict is a verdict.
            settings.accept(offer).ok();
        }
    }
}

/// The first offer that the plain reading of RFC 7692 accepts is answered, and what is agreed is what
/// was asked for.
fn check_answer(settings: &Deflate, offers: &[Offer<'_>]) {
    let accepted = offers.iter().find(|offer| offer.name == NAME && is_acceptable(offer));
    let answer = settings.answer(offers);
    let (Some(offer), Some((agreed, response))) = (accepted, &answer) else {
        assert_eq!((accepted, answer), (None, None));
        return;
    };
    assert!(response.is_legal() && is_acceptable(response));
    let Agreed { server_window_bits, client_window_bits, server_takeover, client_takeover } =
        *agreed;
    assert_eq!(says(response, "server_no_context_takeover"), !server_takeover);
    assert_eq!(says(response, "client_no_context_takeover"), !client_takeover);
    assert!(!server_takeover || !says(offer, "server_no_context_takeover"));
    assert!(!client_takeover || !says(offer, "client_no_context_takeover"));
    assert!((9..=settings.server_window_bits).contains(&server_window_bits));

    // RFC 7692 §7.1.2.1: what the client asks for is answered, and kept.
    if let Some(asked) = bits(offer, "server_max_window_bits") {
        assert_eq!(bits(response, "server_max_window_bits"), Some(server_window_bits));
        assert!(server_window_bits <= asked);
    }
    // RFC 7692 §7.1.2.2: a client that does not know the parameter is not asked.
    if !says(offer, "client_max_window_bits") {
        assert!(!says(response, "client_max_window_bits") && client_window_bits == 15);
    }
    assert_eq!(bits(response, "client_max_window_bits").unwrap_or(15), client_window_bits);
}

/// RFC 7692 §7.1, and no server window of 8 bits.
fn is_acceptable(offer: &Offer<'_>) -> bool {
    let mut seen = HashSet::new();
    offer.params.iter().all(|param| {
        let is_number = |least: u8| {
            (least..=15).any(|bits| param.value.as_deref() == Some(bits.to_string().as_str()))
        };
        seen.insert(param.name)
            && match param.name {
                "server_no_context_takeover" | "client_no_context_takeover" => {
                    param.value.is_none()
                }
                "server_max_window_bits" => is_number(9),
                "client_max_window_bits" => param.value.is_none() || is_number(8),
                _ => false,
            }
    })
}

fn says(offer: &Offer<'_>, name: &str) -> bool {
    offer.params.iter().any(|param| param.name == name)
}

fn bits(offer: &Offer<'_>, name: &str) -> Option<u8> {
    let param = offer.params.iter().find(|param| param.name == name)?;
    param.value.as_deref()?.parse().ok()
}

//! The page that the chat is spoken from in a browser: one file, embedded, without remote parts.

use crate::service::Answer;

/// The page, with `{nonce}` where its style and its script are let in.
const PAGE: &str = include_str!("index.html");

/// The page at `/`, for a `/chat` beside it.
///
/// Its Content-Security-Policy lets in nothing but the page's own style and script, by a nonce that
/// is drawn anew each time, and connections to where it came from: should a message ever become
/// markup by a fault of ours, nothing in it would run.
pub fn page() -> Answer {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    Answer {
        status: 200,
        headers: vec![
            ("Content-Type", "text/html; charset=utf-8".into()),
            ("Content-Security-Policy", policy.into()),
            ("X-Content-Type-Options", "nosniff".into()),
            ("Referrer-Policy", "no-referrer".into()),
            ("Cache-Control", "no-store".into()),
        ],
        body: PAGE.replace("{nonce}", &nonce).into_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
        &answer.headers.iter().find(|(key, _)| *key == name).expect("the header is there").1
    }

    #[test]
    fn each_page_lets_in_its_own_style_and_script_only() {
        let (first, second) = (page(), page());
        let policy = header(&first, "Content-Security-Policy");
        let (_, rest) = policy.split_once("script-src 'nonce-").unwrap();
        let (nonce, _) = rest.split_once('\'').unwrap();
        assert_eq!(nonce.len(), 32);
        let body = str::from_utf8(&first.body).unwrap();
        assert!(body.contains(&format!("<script type=\"module\" nonce=\"{nonce}\">")));
        assert!(body.contains(&format!("<style nonce=\"{nonce}\">")));
        assert!(!body.contains("{nonce}"));
        assert!(!str::from_utf8(&second.body).unwrap().contains(nonce));
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_makes_no_markup() {
        for word in
            ["src=", "@import", "innerHTML", "outerHTML", "insertAdjacent", "document.write"]
        {
            assert!(!PAGE.contains(word), "{word}");
        }
        // The one address in it names what an SVG is.
        assert_eq!(PAGE.matches("http://").count(), 1);
        assert_eq!(PAGE.matches("https://").count(), 0);
    }
}

//! The bundle as one page: it reads the bundle within it, checks it in the browser, and shows only what
//! it has checked. It needs no network and can reach none.
//!
//! Everything that is shown is put in as text by the page's script from the very bytes that were
//! hashed, so that what is shown can't differ from what was checked. The page is a view: a page that
//! somebody changed can claim anything, and the bundle that it saves can be given to `lar-verify`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// The page around a bundle.
pub fn render(bundle: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    // As JSON within a script element nothing is markup but `<`, and that is written as an escape.
    let data = serde_json::to_string(bundle).unwrap_or_default().replace('<', "\\u003c");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Audit record</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <noscript><p>This page checks the record in your browser and shows only what it has checked. \
         Allow its script, or run lar-verify on the bundle.</p></noscript>\n\
         <main id=\"page\"></main>\n\
         <script type=\"application/json\" id=\"bundle\">{data}</script>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_within_a_bundle_is_markup() {
        let page = render("{\"a\":\"</script><script>alert(1)</script><!--\"}\n");
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<!--"));
        assert!(page.contains("default-src 'none'; script-src 'sha256-"));
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("innerHTML"));
        assert!(!page.contains("http://") && !SCRIPT.contains("fetch("));
    }
}

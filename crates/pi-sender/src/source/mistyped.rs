//! Recognizes a `--source` that was mistyped: a URL without its `://`, an unknown scheme, a word that is nearly a known one.
//!
//! Pure. A mistyped URL has its password too, so that of its text only scheme and host are ever shown.

use std::path::Path;

use super::camera_url::CameraUrl;

/// Words that name a source without a file.
const WORDS: [&str; 3] = ["auto", "demo", "rpicam"];
/// Most typing errors in a word that is still recognized: two letters of `demo` are its half.
const MAX_TYPOS: usize = 2;
/// Schemes that cameras use, for error texts.
const COMMON_SCHEMES: &str = "http, https, rtsp, rtsps, rtmp, srt, udp, tcp, rtp";
/// Schemes of streams that FFmpeg or the HTTP reader opens.
const SCHEMES: [&str; 29] = [
    "http", "https", "rtsp", "rtsps", "rtspt", "rtspu", "rtmp", "rtmps", "rtmpt", "rtmpe",
    "rtmpte", "rtmpts", "srt", "udp", "tcp", "tls", "rtp", "srtp", "rist", "zmq", "mms", "mmsh",
    "mmst", "hls", "icecast", "ftp", "sftp", "unix", "onvif",
];

/// Returns whether a text that names no file was meant as a URL: it begins with a known scheme and a colon without `//`, has
/// a login's `@` behind a `:`, or has `://` behind what is not a scheme.
pub(super) fn looks_like_url(text: &str) -> bool {
    if let Some((scheme, _)) = text.split_once("://")
        && is_scheme(scheme)
    {
        return false;
    }
    let has_login = text
        .split_once(':')
        .is_some_and(|(_, rest)| rest.contains('@'));
    scheme_and_rest(text).is_some() || has_login || text.contains("://")
}

/// Returns scheme and host of a mistyped URL, `..` in place of what may be a piece of a password.
pub(super) fn shown(text: &str) -> String {
    let Some((scheme, rest)) = scheme_and_rest(text) else {
        return "..".to_owned();
    };
    let url = format!("{scheme}://{}", rest.trim_start_matches('/'));
    CameraUrl::parse(&url).map_or_else(|| "..".to_owned(), |url| url.to_string())
}

/// Returns the error of a mistyped URL.
pub(super) fn url_error(text: &str) -> String {
    format!(
        "--source {} looks like a URL: write scheme://[user:password@]host/.. (a file of that name: file://NAME)",
        shown(text)
    )
}

/// Returns the error of a URL whose scheme is unknown.
pub(super) fn scheme_error(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once("://")?;
    let lower = scheme.to_ascii_lowercase();
    if SCHEMES.contains(&lower.as_str()) {
        return None;
    }
    let meant = nearest(&lower, &SCHEMES).map(|known| format!("did you mean '{known}'? "));
    let meant = meant.unwrap_or_default();
    Some(format!(
        "--source has the unknown scheme '{scheme}': {meant}Known ones are {COMMON_SCHEMES}; a file is named without a scheme"
    ))
}

/// Returns the known word that a missing file's name resembles.
pub(super) fn meant_word(path: &Path) -> Option<&'static str> {
    let name = path
        .to_str()
        .filter(|name| !name.contains(['.', '/', '%']))?;
    nearest(&name.to_ascii_lowercase(), &WORDS)
}

/// Returns the known word with the fewest typing errors, [`MAX_TYPOS`] and less than its length at most.
fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let typos = |known: &&'static str| strsim::damerau_levenshtein(known, word);
    let near = known.iter().copied().min_by_key(typos)?;
    (typos(&near) <= MAX_TYPOS.min(near.len() - 1)).then_some(near)
}

/// Splits a text behind a known scheme and its colon.
fn scheme_and_rest(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let lower = scheme.to_ascii_lowercase();
    SCHEMES.contains(&lower.as_str()).then_some((scheme, rest))
}

/// Returns whether a text has the form of a URL's scheme (RFC 3986, section 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_its_slashes_is_known_and_shows_scheme_and_host_alone() {
        for (text, want) in [
            ("http:/u:topsecret@127.0.0.1/x", "http://127.0.0.1"),
            ("HTTP:u:topsecret@10.0.0.5", "HTTP://10.0.0.5"),
            ("rtsp:u:topsecret@cam:554/topsecret", "rtsp://cam:554"),
            ("rtsp:cam/user=admin_password=topsecret", "rtsp://cam"),
            ("u:topsecret@127.0.0.1:19150/std", ".."),
            ("http//u:topsecret@127.0.0.1/", ".."),
            ("u:topsecret@http://127.0.0.1/", ".."),
            ("u:topsecret http://127.0.0.1/", ".."),
        ] {
            assert!(looks_like_url(text), "{text}");
            assert_eq!(shown(text), want, "{text}");
            let error = url_error(text);
            assert!(
                error.contains("looks like a URL: write scheme://[user:password@]host/..")
                    && !error.contains("topsecret"),
                "{error}"
            );
        }
    }

    #[test]
    fn names_of_files_and_whole_urls_are_no_mistyped_urls() {
        for text in [
            "drive.mp4",
            "a:b.mp4",
            "me@home.mp4",
            "12:30:00.avi",
            "http://u:p@cam/x",
            "htp://u:p@cam/x",
        ] {
            assert!(!looks_like_url(text), "{text}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_named_with_the_known_ones() {
        let error = scheme_error("htp://u:topsecret@cam/").unwrap();
        for part in [
            "unknown scheme 'htp'",
            "did you mean 'http'?",
            "rtsp, rtsps",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("topsecret"), "{error}");
        assert!(!scheme_error("gopherus://x").unwrap().contains("mean"));
        for url in ["http://cam/", "RTSP://cam/1", "srt://cam:9000"] {
            assert_eq!(scheme_error(url), None);
        }
    }

    #[test]
    fn a_word_that_is_nearly_a_sources_is_recognized() {
        for (name, want) in [
            ("demoo", Some("demo")),
            ("Demo", Some("demo")),
            ("dmeo", Some("demo")),
            ("rpi-cam", Some("rpicam")),
            ("picam", Some("rpicam")),
            ("atuo", Some("auto")),
            ("garden", None),
            ("demo.mp4", None),
            ("./demo1", None),
        ] {
            assert_eq!(meant_word(Path::new(name)), want, "{name}");
        }
    }
}

//! Judges what a camera answered: pictures, a video for FFmpeg, another place, a wish for a login, or something else.
//!
//! Pure. The bytes are the truth and the headers a hint: cameras name their pictures `image/jpg`, `text/plain`, or nothing.

use std::time::Duration;

use percent_encoding::{CONTROLS, percent_encode};
use protocol::text::{MAX_SHOWN, printable, printable_bytes};
use reqwest::{StatusCode, Url};

/// Bytes of a body that tell what it is: two headers of an MPEG transport stream.
pub(super) const HEAD: usize = 189;

/// Longest scheme that is shown.
const MAX_SCHEME: usize = 20;

/// How to read a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// JPEGs, with anything between them.
    Jpegs,
    /// A container or a playlist, which FFmpeg reads.
    Video,
    /// One picture of another kind, which FFmpeg reads.
    Still,
}

impl BodyKind {
    /// Judges a body by its first bytes, and where those are common to several by its type.
    pub(super) fn of(content_type: Option<&str>, head: &[u8]) -> Self {
        let essence = content_type.unwrap_or("").split(';').next().unwrap_or("");
        let essence = essence.trim().to_ascii_lowercase();
        let is_jpeg = head.starts_with(&[0xFF, 0xD8, 0xFF]);
        if is_jpeg
            || head.trim_ascii_start().starts_with(b"--")
            || essence.starts_with("multipart/")
        {
            return Self::Jpegs;
        }
        match () {
            () if is_still(head) || is_still_type(&essence) => Self::Still,
            () if is_container(head) || is_video_type(&essence) => Self::Video,
            () => Self::Jpegs,
        }
    }
}

/// Returns whether bytes begin as a container, a playlist or a coded video does.
fn is_container(head: &[u8]) -> bool {
    let at = |offset: usize, bytes: &[u8]| {
        head.get(offset..)
            .is_some_and(|rest| rest.starts_with(bytes))
    };
    let starts: [&[u8]; 7] = [
        &[0x1A, 0x45, 0xDF, 0xA3], // Matroska, WebM
        b"#EXTM3U",
        b"FLV\x01",
        b"OggS",
        &[0x30, 0x26, 0xB2, 0x75], // ASF
        &[0, 0, 1],                // MPEG program stream, H.264, H.265
        &[0, 0, 0, 1],
    ];
    let boxes: [&[u8]; 5] = [b"ftyp", b"moov", b"moof", b"styp", b"mdat"];
    starts.iter().any(|start| at(0, start))
        || boxes.iter().any(|name| at(4, name))
        || (at(0, b"RIFF") && at(8, b"AVI "))
        || (at(0, &[0x47]) && at(188, &[0x47]))
}

/// Returns whether bytes begin as a PNG or a WebP does.
fn is_still(head: &[u8]) -> bool {
    let is_webp = head.get(8..).is_some_and(|rest| rest.starts_with(b"WEBP"));
    head.starts_with(b"\x89PNG") || (head.starts_with(b"RIFF") && is_webp)
}

fn is_still_type(essence: &str) -> bool {
    essence.starts_with("image/") && !is_jpeg_type(essence)
}

fn is_jpeg_type(essence: &str) -> bool {
    let names = ["jpeg", "jpg", "mjpg"];
    names.iter().any(|name| essence.ends_with(name))
}

fn is_video_type(essence: &str) -> bool {
    let playlist = ["mpegurl", "dash+xml", "ogg", "/mp4", "matroska"];
    !is_jpeg_type(essence)
        && (essence.starts_with("video/") || playlist.iter().any(|name| essence.ends_with(name)))
}

/// Returns where a redirect leads, seen from `url`; the error names the cause without the address, which may contain a
/// token. Bytes beyond ASCII reach the camera as they came.
pub(super) fn redirect(url: &Url, location: Option<&[u8]>) -> Result<Url, String> {
    let location = location.ok_or("it redirects, and names no place")?;
    let to = url
        .join(&percent_encode(location, CONTROLS).to_string())
        .map_err(|why| format!("it redirects to an address that is wrong: {why}"))?;
    match to.scheme() {
        "http" | "https" => Ok(to),
        other => Err(format!(
            "it redirects from HTTP to {}: name that address as --source instead",
            printable(other, MAX_SCHEME)
        )),
    }
}

/// Returns whether a login for `from` may be sent to `to`: to the same host and port alone, or to its HTTPS.
pub(super) fn may_keep_login(from: &Url, to: &Url) -> bool {
    let port = |url: &Url| url.port_or_known_default();
    let upgraded = (from.scheme(), to.scheme()) == ("http", "https")
        && (port(from), port(to)) == (Some(80), Some(443));
    let same = from.scheme() == to.scheme() && port(from) == port(to);
    from.host_str() == to.host_str() && (same || upgraded)
}

/// Returns whether an authority may have signed a certificate for this host: none does for private addresses and names
/// without a domain, so that cameras at those have certificates of their own.
pub(super) fn has_public_name(url: &Url) -> bool {
    use std::net::IpAddr;
    let host = url.host_str().unwrap_or("");
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    match address {
        Ok(IpAddr::V4(ip)) => !(ip.is_private() || ip.is_loopback() || ip.is_link_local()),
        Ok(IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
        Err(_) => {
            let local = [
                ".local",
                ".lan",
                ".home",
                ".internal",
                ".home.arpa",
                ".localhost",
                ".fritz.box",
            ];
            host.contains('.') && !local.iter().any(|end| host.ends_with(end))
        }
    }
}

/// Returns the cure of an error of the network, where there is one.
pub(super) fn cure(error: &str) -> &'static str {
    if error.contains("certificate") {
        "; no authority has signed the camera's certificate for this name: use its private address or http://"
    } else if error.contains("Connection refused") {
        "; no program listens there: is the camera on, and is the port in the URL right?"
    } else if error.contains("unreachable") || error.contains("No route to host") {
        "; is the camera on, and is this computer in its network?"
    } else {
        ""
    }
}

/// Describes a host that gives no answer in time.
pub(super) fn no_answer(patience: Duration) -> String {
    format!(
        "no answer for {} s; is the camera on, and is the address right?",
        patience.as_secs()
    )
}

/// Describes an error of the network. `host` is what may be shown of the URL's host.
pub(super) fn network_error(error: &str, host: &str) -> String {
    // The resolver's error has no type of its own.
    match error.contains("dns error") {
        true => format!(
            "the name {host} does not resolve: is it spelled right, and is this computer's network up? Else write the \
             camera's IP address"
        ),
        false => format!("the request fails: {error}{}", cure(error)),
    }
}

/// Describes an answer that holds no picture: status, type, first bytes, and the cure where there is one.
pub(super) fn describe(status: StatusCode, content_type: Option<&str>, head: &[u8]) -> String {
    let kind = content_type.map_or("no content type".to_owned(), |kind| printable(kind, 60));
    let body = match head.trim_ascii() {
        [] => "no content".to_owned(),
        head => format!(
            "which begins with '{}'",
            printable_bytes(head, MAX_SHOWN / 2)
        ),
    };
    let cure = match status {
        StatusCode::NOT_FOUND => "; is the path in the URL right?",
        StatusCode::SERVICE_UNAVAILABLE => "; does another program hold the camera?",
        _ if status.is_success() => {
            "; is this the address of the picture, and not of a page about it?"
        }
        _ => "",
    };
    format!("it answered {status}, {kind}, {body}{cure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn pictures_are_known_by_their_bytes_whatever_the_type_is() {
        for kind in [
            None,
            Some("image/jpg"),
            Some("video/mp4"),
            Some("text/html"),
        ] {
            assert_eq!(
                BodyKind::of(kind, &[0xFF, 0xD8, 0xFF, 0xE0]),
                BodyKind::Jpegs,
                "{kind:?}"
            );
            assert_eq!(
                BodyKind::of(kind, b"\r\n--frame\r\n"),
                BodyKind::Jpegs,
                "{kind:?}"
            );
        }
        for kind in [
            "multipart/x-mixed-replace;boundary=x",
            "Multipart/Mixed",
            "video/x-motion-jpeg",
            "image/jpeg",
        ] {
            assert_eq!(
                BodyKind::of(Some(kind), b"Content-Type: "),
                BodyKind::Jpegs,
                "{kind}"
            );
        }
    }

    #[test]
    fn containers_and_playlists_are_for_ffmpeg_by_bytes_or_by_type() {
        let mut transport = [0; HEAD];
        (transport[0], transport[188]) = (0x47, 0x47);
        let heads: [&[u8]; 6] = [
            b"\0\0\0\x20ftypisom",
            &[0x1A, 0x45, 0xDF, 0xA3],
            b"#EXTM3U\n",
            b"RIFF\0\0\0\0AVI LIST",
            &[0, 0, 0, 1, 0x67],
            &transport,
        ];
        for head in heads {
            assert_eq!(
                BodyKind::of(Some("application/octet-stream"), head),
                BodyKind::Video,
                "{head:?}"
            );
        }
        for kind in [
            "video/mp4",
            "application/vnd.apple.mpegurl; charset=utf-8",
            "audio/x-mpegURL",
            "video/mp2t",
        ] {
            assert_eq!(BodyKind::of(Some(kind), b"??"), BodyKind::Video, "{kind}");
        }
        for (kind, head) in [
            ("application/octet-stream", &b"\x89PNG\r\n"[..]),
            ("text/plain", b"RIFF\0\0\0\0WEBPVP8 "),
            ("image/png", b"??"),
            ("image/gif", b"GIF89a"),
        ] {
            assert_eq!(BodyKind::of(Some(kind), head), BodyKind::Still, "{kind}");
        }
        for kind in ["text/html", "application/octet-stream", "application/json"] {
            assert_eq!(
                BodyKind::of(Some(kind), b"<html>"),
                BodyKind::Jpegs,
                "{kind}"
            );
        }
    }

    #[test]
    fn redirects_stay_within_http() {
        let from = url("http://cam/a/b?c");
        for (location, to) in [
            (&b"/std"[..], "http://cam/std"),
            (b"https://other/x", "https://other/x"),
            ("/K\u{fc}che".as_bytes(), "http://cam/K%C3%BCche"),
            (b"/K\xFCche?a%20b", "http://cam/K%FCche?a%20b"),
        ] {
            assert_eq!(redirect(&from, Some(location)), Ok(url(to)));
        }
        for (location, words) in [
            (Some("rtsp://u:geheim@cam/1"), "from HTTP to rtsp"),
            (Some("file:///etc/passwd"), "from HTTP to file"),
            (Some("http://["), "wrong"),
            (None, "names no place"),
        ] {
            let why = redirect(&from, location.map(str::as_bytes)).unwrap_err();
            assert!(why.contains(words) && !why.contains("geheim"), "{why}");
        }
    }

    #[test]
    fn a_login_follows_to_the_same_host_and_its_https_alone() {
        for (from, to, kept) in [
            ("http://cam/a", "http://cam/b", true),
            ("http://cam/a", "https://cam/a", true),
            ("http://cam/a", "http://cam:8080/a", false),
            ("https://cam/a", "http://cam/a", false),
            ("http://cam/a", "http://evil/a", false),
            ("http://cam:81/a", "https://cam/a", false),
        ] {
            assert_eq!(may_keep_login(&url(from), &url(to)), kept, "{from} {to}");
        }
    }

    #[test]
    fn only_public_names_have_certificates_of_an_authority() {
        for host in [
            "10.0.0.5",
            "192.168.1.2",
            "127.0.0.1",
            "[fe80::1]",
            "[fd00::1]",
            "cam",
            "cam.local",
            "cam.fritz.box",
        ] {
            assert!(
                !has_public_name(&url(&format!("https://{host}/"))),
                "{host}"
            );
        }
        for host in ["example.org", "203.0.113.4", "[2001:db8::1]"] {
            assert!(has_public_name(&url(&format!("https://{host}/"))), "{host}");
        }
    }

    #[test]
    fn a_certificate_that_is_not_trusted_has_a_cure() {
        assert!(cure("invalid peer certificate: UnknownIssuer").contains("private address"));
        assert_eq!(cure("the message is incomplete"), "");
    }

    #[test]
    fn a_host_that_cannot_be_reached_has_a_cure() {
        let error = |text| network_error(text, "cam");
        assert!(
            error("Connection refused (os error 111)").contains("is the port in the URL right")
        );
        assert!(error("No route to host").contains("in its network"));
        assert!(error("dns error: failed to lookup").starts_with("the name cam does not resolve"));
        assert!(
            no_answer(Duration::from_secs(10)).starts_with("no answer for 10 s; is the camera on")
        );
    }

    #[test]
    fn what_came_instead_of_a_picture_is_named_and_harmless() {
        let text = describe(
            StatusCode::OK,
            Some("text/html"),
            b"<html>\x1b[2J\r\nlog in",
        );
        for part in [
            "200 OK",
            "text/html",
            "'<html>\\u{1b}[2J\\r\\nlog in'",
            "page about it",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(
            describe(StatusCode::NOT_FOUND, None, b"")
                .contains("404 Not Found, no content type, no content; is the path")
        );
        let long = describe(StatusCode::OK, None, &[b'x'; 5000]);
        assert!(long.len() < 300, "{long}");
        let scheme = format!("{}:x", "x".repeat(5000));
        let why = redirect(&url("http://cam/"), Some(scheme.as_bytes())).unwrap_err();
        assert!(why.len() < 120, "{why}");
    }
}

//! Takes a camera's URL apart, as people write it: with a login in it, and in that any character of a password.
//!
//! Pure. A URL is secret but for its scheme and host: passwords and tokens stand in the login, in the query and in paths
//! such as `/user=admin_password=xx_channel=1`.

use std::fmt;

/// The parts of a URL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CameraUrl<'a> {
    /// What stands in front of `://`.
    pub(super) scheme: &'a str,
    /// What stands between `://` and the `@` in front of the host, percent escapes included.
    pub(super) login: Option<&'a str>,
    /// Host and port; empty where none can be found.
    pub(super) host: &'a str,
    /// Path, query and fragment.
    pub(super) rest: &'a str,
    /// Whether the host is a guess, so that it may be a piece of a password.
    pub(super) guessed: bool,
}

impl<'a> CameraUrl<'a> {
    /// Splits a URL; `None` if it has no scheme.
    ///
    /// A login may contain `/`, `?`, `#` and `@` as they are. So a host may stand right behind the scheme and behind each
    /// `@`; the first that looks like a name of a network wins, else the first of all.
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let starts = std::iter::once(0).chain(rest.match_indices('@').map(|(at, _)| at + 1));
        let hosts: Vec<(usize, &str)> = starts
            .map(|start| (start, authority(&rest[start..])))
            .filter(|(_, host)| is_host(host))
            .collect();
        // Without a colon there is no password, so what stands first is the host.
        let first = hosts
            .first()
            .filter(|(start, host)| *start == 0 && !host.contains(':'));
        let sure = || hosts.iter().find(|(_, host)| is_network_name(host));
        let Some(&(start, host)) = first.or_else(sure).or_else(|| hosts.first()) else {
            return Some(Self {
                scheme,
                login: None,
                host: "",
                rest,
                guessed: true,
            });
        };
        let with_login = hosts.iter().filter(|(start, _)| *start > 0).count();
        let guessed = match start {
            0 => first.is_none() && !is_network_name(host) && with_login > 0,
            _ => with_login > 1,
        };
        Some(Self {
            scheme,
            login: (start > 0).then(|| &rest[..start - 1]),
            host,
            rest: &rest[start + host.len()..],
            guessed,
        })
    }

    /// Returns whether the URL is one of HTTP's.
    pub(super) fn is_http(&self) -> bool {
        ["http", "https"]
            .iter()
            .any(|http| self.scheme.eq_ignore_ascii_case(http))
    }
}

/// Shows scheme and host alone.
impl fmt::Display for CameraUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.guessed { ".." } else { self.host };
        write!(f, "{}://{host}", self.scheme)
    }
}

/// Shows what [`fmt::Display`] does, so that no log of a whole structure contains a password.
impl fmt::Debug for CameraUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn authority(text: &str) -> &str {
    &text[..text.find(['/', '?', '#']).unwrap_or(text.len())]
}

/// Returns whether a text has the form `HOST` or `HOST:PORT`.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rfind(']') {
        Some(end) if text.starts_with('[') => {
            let inside = &text[1..end];
            if !inside
                .chars()
                .all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '%'))
            {
                return false;
            }
            (inside, &text[end + 1..])
        }
        _ => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let bracketed = text.starts_with('[');
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && is_port && (bracketed || name.chars().all(is_name))
}

/// Returns whether a host is an address or a name with a domain, which few user names and pieces of passwords are.
fn is_network_name(host: &str) -> bool {
    host.contains('.') || host.starts_with('[') || host.split(':').next() == Some("localhost")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(url: &str) -> (Option<&str>, &str, &str) {
        let url = CameraUrl::parse(url).unwrap();
        (url.login, url.host, url.rest)
    }

    fn shown(url: &str) -> String {
        CameraUrl::parse(url).unwrap().to_string()
    }

    #[test]
    fn a_login_may_contain_any_character() {
        for (url, login) in [
            ("rtsp://me:p@ss@cam:554/1", "me:p@ss"),
            ("rtsp://me:pa/ss@cam:554/1", "me:pa/ss"),
            ("rtsp://me:12/34@cam.lan:554/1", "me:12/34"),
            ("rtsp://me:p%40s@cam:554/1", "me:p%40s"),
            ("http://u:p@s#w/%?:x@127.0.0.1:80/mjpg", "u:p@s#w/%?:x"),
            ("http://u@cam/", "u"),
            ("http://u:p@[fe80::1]:80/", "u:p"),
        ] {
            assert_eq!(parts(url).0, Some(login), "{url}");
        }
    }

    #[test]
    fn an_at_sign_behind_the_host_belongs_to_the_path() {
        assert_eq!(parts("http://cam/a@b.c"), (None, "cam", "/a@b.c"));
        assert_eq!(
            parts("rtsp://10.0.0.5:554/user=admin_password=x@y"),
            (None, "10.0.0.5:554", "/user=admin_password=x@y")
        );
        assert_eq!(
            parts("http://u:p@10.0.0.5/a@2x.jpg"),
            (Some("u:p"), "10.0.0.5", "/a@2x.jpg")
        );
    }

    #[test]
    fn nothing_but_scheme_and_host_is_shown() {
        for (url, want) in [
            ("http://cam:8080/video?pwd=geheim", "http://cam:8080"),
            ("http://cam/?token=geheim#geheim", "http://cam"),
            (
                "rtsp://10.0.0.5:554/user=admin_password=geheim_channel=1",
                "rtsp://10.0.0.5:554",
            ),
            ("rtsp://me:geheim@cam:554/1", "rtsp://cam:554"),
            ("rtsp://me:ge/heim@cam/1", "rtsp://cam"),
            ("rtsp://me:geheim", "rtsp://.."),
            ("rtsp://geheim@", "rtsp://.."),
        ] {
            assert_eq!(shown(url), want);
        }
    }

    #[test]
    fn a_host_that_may_be_a_piece_of_a_password_is_not_shown() {
        for url in [
            "rtsp://me:a@geheim/b@cam/1",
            "rtsp://me:a@ge.heim/b@cam/1",
            "rtsp://geheim:12/34@cam/1",
        ] {
            assert_eq!(shown(url), "rtsp://..", "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_password_is_found_in_front_of_an_address_and_not_shown(
            password in "[a-z0-9@/?#:%&=._-]{1,12}",
        ) {
            let url = format!("http://me:Q{password}Q@192.0.2.1:80/Q?Q");
            prop_assert!(!shown(&url).contains('Q'), "{}", shown(&url));
        }

        #[test]
        fn parts_give_the_url_again(url in "[a-z]{1,4}://[a-z0-9@/?#:%\\[\\].]{0,24}") {
            let CameraUrl { scheme, login, host, rest, .. } = CameraUrl::parse(&url).unwrap();
            let login = login.map(|login| format!("{login}@")).unwrap_or_default();
            prop_assert_eq!(format!("{scheme}://{login}{host}{rest}"), url);
        }
    }
}

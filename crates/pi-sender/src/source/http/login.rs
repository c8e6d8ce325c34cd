//! Answers a camera's request for a login: by digest where the camera offers it, else by basic authentication.
//!
//! A password goes out only after the camera asked, since basic authentication sends it as it is.

use std::fmt;

use digest_auth::{AuthContext, WwwAuthenticateHeader};
use percent_encoding::percent_decode_str;

/// What stands for a character beyond ASCII while a digest is parsed; no header contains it.
const PLACEHOLDER: char = '\u{7f}';

/// User and password of a URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Login {
    /// Decodes what stands in front of a URL's `@`.
    pub(crate) fn decode(login: &str) -> Self {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self {
            user: decoded(user),
            password: decoded(password),
        }
    }
}

/// Shows nothing of it.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// A camera's request for a login.
#[derive(Debug)]
pub(super) enum Challenge {
    /// User and password, readable for everyone on the path.
    Basic,
    /// A hash of them and of a number that the camera chose.
    Digest(Box<WwwAuthenticateHeader>),
}

impl Challenge {
    /// Chooses from the values of `WWW-Authenticate`: the first digest that can be computed, else basic. Cameras that
    /// name no method at all mean basic.
    pub(super) fn choose<'a>(offers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let offers: Vec<&str> = offers.into_iter().collect();
        let digest = offers.iter().find_map(|offer| {
            let parameters = behind_word(offer, "digest")?;
            // One line may contain several methods.
            let end = word_at(parameters, "basic").unwrap_or(parameters.len());
            let parameters = parameters[..end].trim_end_matches([',', ' ']);
            parse_digest(parameters)
        });
        let basic =
            || offers.is_empty() || offers.iter().any(|offer| word_at(offer, "basic").is_some());
        digest
            .map(|digest| Self::Digest(Box::new(digest)))
            .or_else(|| basic().then_some(Self::Basic))
    }

    /// Returns the value of `Authorization` for a GET of `uri` (path and query). Each one is for one request.
    pub(super) fn answer(&mut self, login: &Login, uri: &str) -> anyhow::Result<String> {
        let Login { user, password } = login;
        match self {
            Self::Basic => Ok(format!(
                "Basic {}",
                base64(format!("{user}:{password}").as_bytes())
            )),
            Self::Digest(digest) => {
                let context = AuthContext::new(user.as_str(), password.as_str(), uri);
                Ok(digest.respond(&context)?.to_string())
            }
        }
    }
}

/// Parses a digest's parameters. The library takes the numbers of characters for those of bytes, so it is given ASCII alone,
/// and the realm is put back; `None` if that is in no known encoding, since the hash is of its bytes.
fn parse_digest(parameters: &str) -> Option<WwwAuthenticateHeader> {
    let ascii = |c: char| if c.is_ascii() { c } else { PLACEHOLDER };
    let plain: String = parameters.chars().map(ascii).collect();
    let mut digest = digest_auth::parse(&format!("Digest {plain}")).ok()?;
    if digest.realm.contains(PLACEHOLDER) {
        digest.realm = realm(parameters)?;
    }
    let unknown = |text: &str| text.contains([PLACEHOLDER, char::REPLACEMENT_CHARACTER]);
    let has_unknown = unknown(&digest.realm)
        || unknown(&digest.nonce)
        || digest.opaque.as_deref().is_some_and(unknown);
    (!has_unknown).then_some(digest)
}

/// Returns the realm in a digest's parameters.
fn realm(parameters: &str) -> Option<String> {
    const NAME: &str = "realm=\"";
    let at = parameters.to_ascii_lowercase().find(NAME)? + NAME.len();
    let (mut realm, mut rest) = (String::new(), parameters[at..].chars());
    loop {
        match rest.next()? {
            '"' => return Some(realm),
            '\\' => realm.push(rest.next()?),
            c => realm.push(c),
        }
    }
}

/// Describes offers of which none can be answered.
pub(super) fn no_answer<'a>(offers: impl IntoIterator<Item = &'a str>) -> &'static str {
    let unreadable = |offer: &str| {
        behind_word(offer, "digest").is_some() && offer.contains(char::REPLACEMENT_CHARACTER)
    };
    match offers.into_iter().any(unreadable) {
        true => {
            "the camera's realm for digest has letters that are not UTF-8, so the login cannot be computed: give the \
             camera a name of plain letters in its settings"
        }
        false => {
            "the camera requests a login by a method other than basic and digest: choose one of these in its settings"
        }
    }
}

fn behind_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    word_at(text, word).map(|at| &text[at + word.len()..])
}

/// Returns where a method's name stands: at the start, or behind a comma, and in no quotes.
fn word_at(text: &str, word: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    lower.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = lower[..*at].trim_end();
        let quoted = before.matches('"').count() % 2 == 1;
        !quoted
            && (before.is_empty() || before.ends_with(','))
            && lower[at + word.len()..]
                .chars()
                .next()
                .is_none_or(|c| matches!(c, ' ' | ','))
    })
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str) -> Login {
        Login::decode(text)
    }

    #[test]
    fn escapes_of_a_login_are_decoded_and_a_lone_percent_sign_stays() {
        let Login { user, password } = login("u:p%40s%23w%2F%25%3F%3Ax");
        assert_eq!((user.as_str(), password.as_str()), ("u", "p@s#w/%?:x"));
        assert_eq!(login("u:p@s#w/%?:x").password, "p@s#w/%?:x");
        assert_eq!(login("u").password, "");
    }

    #[test]
    fn digest_goes_before_basic_in_whatever_order_they_are_offered() {
        let digest = "Digest realm=\"cam\", nonce=\"abc\", qop=\"auth\"";
        let both = format!("Basic realm=\"a, digest b\", {digest}");
        let reverse = format!("{digest}, Basic realm=\"cam\"");
        let offers: [&[&str]; 5] = [
            &[digest],
            &["Basic realm=\"cam\"", digest],
            &[&both],
            &[&reverse],
            &["dIGEST realm=\"c\",nonce=\"a\""],
        ];
        for offer in offers {
            let chosen = Challenge::choose(offer.iter().copied());
            assert!(matches!(chosen, Some(Challenge::Digest(_))), "{offer:?}");
        }
    }

    #[test]
    fn basic_is_the_answer_to_basic_and_to_no_method_and_others_have_none() {
        for offers in [&["Basic realm=\"cam\""][..], &["basic"], &[]] {
            let mut chosen = Challenge::choose(offers.iter().copied()).unwrap();
            assert_eq!(
                chosen.answer(&login("u:p"), "/").unwrap(),
                "Basic dTpw",
                "{offers:?}"
            );
        }
        for offer in ["Bearer realm=\"x\"", "Digest nothing", "NTLM"] {
            assert!(Challenge::choose([offer]).is_none(), "{offer}");
        }
    }

    #[test]
    fn a_digest_is_the_standards_and_counts_its_requests() {
        // RFC 7616, section 3.9.1, but for its second number, which is the client's own.
        let offer = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=MD5, \
                     nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        let mut chosen = Challenge::choose([offer]).unwrap();
        let mufasa = login("Mufasa:Circle%20of%20Life");
        for count in ["nc=00000001", "nc=00000002"] {
            let answer = chosen.answer(&mufasa, "/dir/index.html").unwrap();
            for part in [
                "Digest username=\"Mufasa\"",
                "uri=\"/dir/index.html\"",
                "qop=auth",
                count,
            ] {
                assert!(answer.contains(part), "{answer}");
            }
            assert!(!answer.contains("Circle"), "{answer}");
        }
    }

    #[test]
    fn a_realm_in_utf_8_is_part_of_the_hash_and_one_in_another_encoding_is_named() {
        let offer = "Digest realm=\"K\u{fc}che \\\"\u{6771}\\\"\", nonce=\"abc\", algorithm=MD5";
        let mut chosen = Challenge::choose([offer]).unwrap();
        let answer = chosen.answer(&login("u:p"), "/").unwrap();
        assert!(
            answer.contains("realm=\"K\u{fc}che \\\"\u{6771}\\\"\""),
            "{answer}"
        );
        // MD5 of MD5(u:Küche "東":p), the nonce and MD5(GET:/).
        assert!(
            answer.contains("response=\"72531c3296eb3f62ac80b62ef602d035\""),
            "{answer}"
        );
        for offer in [
            "Digest realm=\"K\u{fffd}che\", nonce=\"abc\"",
            "Digest realm=\"c\", nonce=\"\u{fc}\"",
            "Digest \u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc} n=\"x\", realm=\"\u{6771}",
        ] {
            assert!(Challenge::choose([offer]).is_none(), "{offer}");
        }
        let unreadable = no_answer(["Digest realm=\"K\u{fffd}che\""]);
        assert!(unreadable.contains("not UTF-8"), "{unreadable}");
        assert!(no_answer(["NTLM"]).contains("other than basic and digest"));
    }
}

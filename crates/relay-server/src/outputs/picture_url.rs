//! Where a receiver finds the pictures of an event: absolute by `--http-url`, and on a private relay signed, with an expiry,
//! so that a notification shows the picture and holds no token. Pure.
//!
//! The signature is an HMAC-SHA256 of path and expiry under a key of the relay's identity: `--rotate` voids all.

use ring::hmac;

use super::hex;

/// How long a signed URL is valid, in seconds: people open a notification within a day.
const VALID_S: u64 = 24 * 3600;

/// Makes the URLs of pictures.
#[derive(Debug, Clone)]
pub struct PictureUrls {
    /// `--http-url` without a slash at its end.
    base: Option<String>,
    /// Set on a private relay.
    signer: Option<PictureSigner>,
}

/// Signs and checks paths of pictures.
#[derive(Debug, Clone)]
pub struct PictureSigner(hmac::Key);

impl PictureUrls {
    /// Returns the URLs of a relay whose HTTP server others reach at `base`.
    pub fn new(base: Option<&str>, signer: Option<PictureSigner>) -> Self {
        Self {
            base: base.map(|base| base.trim_end_matches('/').to_owned()),
            signer,
        }
    }

    /// Returns the URL of a path, at so many seconds since the Unix epoch. Without `--http-url` it is the path.
    pub fn url(&self, path: &str, unix_s: u64) -> String {
        let Some(base) = &self.base else {
            return path.to_owned();
        };
        let query = self
            .signer
            .as_ref()
            .map(|signer| signer.query(path, unix_s));
        format!("{base}{path}{}", query.unwrap_or_default())
    }
}

impl PictureSigner {
    /// Returns the signer of a relay, by a secret that is its own.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Returns whether a signature of a path is right and has not expired.
    pub fn permits(&self, path: &str, expires: &str, signature: &str, unix_s: u64) -> bool {
        let in_time = expires
            .parse()
            .is_ok_and(|expires: u64| unix_s < expires && expires <= unix_s + VALID_S);
        let signature = hex::decode(signature).unwrap_or_default();
        let right = hmac::verify(&self.0, text(path, expires).as_bytes(), &signature);
        in_time && right.is_ok()
    }

    fn query(&self, path: &str, unix_s: u64) -> String {
        let expires = (unix_s + VALID_S).to_string();
        let signature = hmac::sign(&self.0, text(path, &expires).as_bytes());
        format!(
            "?expires={expires}&signature={}",
            hex::encode(signature.as_ref())
        )
    }
}

/// Returns what is signed. A path has no line's end, so no two pairs make the same text.
fn text(path: &str, expires: &str) -> String {
    format!("{path}\n{expires}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/events/1763820000.123-a1b2/snapshot.jpg";
    const NOW: u64 = 1_763_820_000;

    fn signer() -> PictureSigner {
        PictureSigner::new(b"secret")
    }

    fn signed() -> (String, String) {
        let url = PictureUrls::new(Some("https://cam.example/"), Some(signer())).url(PATH, NOW);
        let (path, query) = url.split_once('?').unwrap();
        assert_eq!(path, format!("https://cam.example{PATH}"));
        let (expires, signature) = query.split_once('&').unwrap();
        let value = |pair: &str| pair.split_once('=').unwrap().1.to_owned();
        (value(expires), value(signature))
    }

    #[test]
    fn a_url_is_absolute_where_the_operator_named_the_server_and_signed_where_it_is_private() {
        let open = PictureUrls::new(Some("http://nas:8080"), None);
        assert_eq!(open.url(PATH, NOW), format!("http://nas:8080{PATH}"));
        assert_eq!(PictureUrls::new(None, Some(signer())).url(PATH, NOW), PATH);
        signed();
    }

    #[test]
    fn a_signature_permits_its_path_until_it_expires_and_nothing_else() {
        let (expires, signature) = signed();
        let permits = |path: &str, expires: &str, signature: &str, now| {
            signer().permits(path, expires, signature, now)
        };
        assert!(permits(PATH, &expires, &signature, NOW));
        assert!(permits(PATH, &expires, &signature, NOW + VALID_S - 1));
        assert!(!permits(PATH, &expires, &signature, NOW + VALID_S));
        assert!(!permits(
            "/events/1763820000.123-a1b3/snapshot.jpg",
            &expires,
            &signature,
            NOW
        ));
        let later = (expires.parse::<u64>().unwrap() + 1).to_string();
        assert!(!permits(PATH, &later, &signature, NOW));
        for wrong in ["", "zz", &signature[2..], &"0".repeat(64)] {
            assert!(!permits(PATH, &expires, wrong, NOW), "{wrong}");
        }
        assert!(!PictureSigner::new(b"other").permits(PATH, &expires, &signature, NOW));
    }
}

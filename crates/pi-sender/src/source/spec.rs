//! Parses `--source`: a word, a number, a path, a URL or a pipeline, known by its form.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::camera_url::CameraUrl;
use super::mistyped;

/// Start of a file's name that is a name whatever it looks like.
const FILE: &str = "file://";

/// The value of `--source`.
#[derive(Clone, PartialEq, Eq)]
pub enum SourceSpec {
    /// The Pi's camera if it works, else the first V4L2 camera.
    Auto,
    /// The generated scene.
    Demo,
    /// The Pi's camera.
    Rpicam,
    /// A V4L2 camera.
    Device(PathBuf),
    /// A stream on the network.
    Url(String),
    /// A GStreamer pipeline that ends in an appsink.
    Gst(String),
    /// JPEGs from standard input.
    Stdin,
    /// A video, an MJPEG file, a numbered sequence of pictures, or one picture.
    File(PathBuf),
    /// A text that names no file and was probably meant as a URL. It is an error where the source is opened and not where the
    /// command line is parsed, since that shows the value with its password.
    MistypedUrl(String),
}

impl SourceSpec {
    /// Parses a value of the command line, which may name a file in bytes that are not UTF-8.
    ///
    /// # Errors
    /// If it is empty.
    pub fn from_os(value: OsString) -> Result<Self, String> {
        match value.into_string() {
            Ok(text) => text.parse(),
            Err(value) => {
                let bytes = value.as_bytes();
                if let Some(path) = bytes.strip_prefix(FILE.as_bytes()) {
                    return Ok(Self::File(OsStr::from_bytes(path).into()));
                }
                // A URL has percent escapes in place of such bytes.
                let text = value.to_string_lossy();
                let is_url = text.contains("://") || mistyped::looks_like_url(&text);
                match is_url && !Path::new(&value).exists() {
                    true => Ok(Self::MistypedUrl(text.into_owned())),
                    false => Ok(Self::File(value.into())),
                }
            }
        }
    }
}

impl FromStr for SourceSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let s = without_spaces_of_a_url(s);
        Ok(match s {
            "" | FILE => return Err("a source is missing; 'demo' needs no camera".to_owned()),
            "auto" => Self::Auto,
            "demo" => Self::Demo,
            "rpicam" => Self::Rpicam,
            "-" => Self::Stdin,
            _ if s.bytes().all(|b| b.is_ascii_digit()) => {
                Self::Device(format!("/dev/video{s}").into())
            }
            _ if s.starts_with("/dev/") => Self::Device(s.into()),
            _ => match (s.strip_prefix(FILE), s.strip_prefix("gst:")) {
                (Some(path), _) => Self::File(path.into()),
                // Before URLs, since a pipeline may have one in it.
                (None, Some(pipeline)) => Self::Gst(pipeline.to_owned()),
                (None, None) if mistyped::looks_like_url(s) && !Path::new(s).exists() => {
                    Self::MistypedUrl(s.to_owned())
                }
                (None, None) if s.contains("://") => Self::Url(s.to_owned()),
                (None, None) => Self::File(s.into()),
            },
        })
    }
}

/// Returns a URL without the spaces around it, which come with it out of a web page; other texts may be names of files.
fn without_spaces_of_a_url(text: &str) -> &str {
    let is_other = text.starts_with("gst:") || text.starts_with(FILE);
    match text.contains("://") && !is_other && !Path::new(text).exists() {
        true => text.trim(),
        false => text,
    }
}

/// Shows the source as `--source` takes it, but of a URL only scheme and host, and of a pipeline only its elements: the log
/// is read by others, and most cameras have their passwords there.
impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Demo => f.write_str("demo"),
            Self::Rpicam => f.write_str("rpicam"),
            Self::Stdin => f.write_str("-"),
            Self::Device(path) => path.display().fmt(f),
            Self::File(path) => {
                // A file that is called `demo` or `0` is not the source of that name. What is not UTF-8 is always a file.
                let is_bare = path
                    .to_str()
                    .is_none_or(|text| text.parse().as_ref() == Ok(self));
                let scheme = match is_bare {
                    true => "",
                    false => FILE,
                };
                write!(f, "{scheme}{}", path.display())
            }
            Self::Url(url) => CameraUrl::parse(url).map_or(Ok(()), |url| url.fmt(f)),
            Self::Gst(pipeline) => write!(f, "gst:{}", elements(pipeline)),
            Self::MistypedUrl(text) => f.write_str(&mistyped::shown(text)),
        }
    }
}

/// Shows what [`fmt::Display`] does, since the command line as a whole may be shown.
impl fmt::Debug for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the names of a pipeline's elements without their properties, since those contain URLs and passwords.
fn elements(pipeline: &str) -> String {
    let first_word = |element: &str| {
        let word = element.split_whitespace().next().unwrap_or("..");
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if word.chars().all(is_name) {
            word.to_owned()
        } else {
            "..".to_owned()
        }
    };
    let elements: Vec<String> = pipeline.split(" ! ").map(first_word).collect();
    elements.join(" ! ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sourcelike() -> impl Strategy<Value = String> {
        let words = [
            "auto", "demo", "rpicam", "0", "/dev/", "file://", "gst:", "http://", "://", "@", ":",
            "/", "%", "http:", "rtsp:", "x:y@",
        ];
        let piece = prop_oneof![
            prop::sample::select(words.to_vec()).prop_map(str::to_owned),
            "[0-9a-z]{1,3}",
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn any_source_is_shown_as_the_same_source_but_for_what_is_secret(text in sourcelike()) {
            if let Ok(spec) = text.parse::<SourceSpec>() {
                let shown = spec.to_string();
                let again: SourceSpec = shown.parse().unwrap();
                prop_assert_eq!(again.to_string(), shown);
                let is_secret = matches!(
                    spec,
                    SourceSpec::Url(_) | SourceSpec::Gst(_) | SourceSpec::MistypedUrl(_)
                );
                prop_assert!(again == spec || is_secret);
            }
        }
    }

    #[test]
    fn a_pipeline_with_a_url_is_a_pipeline() {
        let text = "gst:souphttpsrc location=http://cam/ ! jpegparse ! appsink";
        assert!(matches!(text.parse(), Ok(SourceSpec::Gst(_))));
    }

    #[test]
    fn a_file_may_be_called_like_another_source() {
        for text in [
            "file://demo",
            "file://-",
            "file://0",
            "file://gst:x",
            "file:///dev/null",
        ] {
            let spec: SourceSpec = text.parse().unwrap();
            assert!(matches!(spec, SourceSpec::File(_)), "{text}");
            assert_eq!(spec.to_string(), text);
        }
        assert!("file://".parse::<SourceSpec>().is_err());
    }

    #[test]
    fn spaces_around_a_url_are_no_part_of_it_and_of_a_files_name_they_are() {
        let url = SourceSpec::Url("http://cam/x?a=b c".to_owned());
        for text in [
            " http://cam/x?a=b c",
            "http://cam/x?a=b c \t",
            "\n http://cam/x?a=b c\n",
        ] {
            assert_eq!(text.parse(), Ok(url.clone()), "{text:?}");
        }
        let file = |name: &str| Ok(SourceSpec::File(name.into()));
        assert_eq!("file:///tmp/a ".parse(), file("/tmp/a "));
        assert_eq!("a.mjpeg ".parse(), file("a.mjpeg "));
    }

    #[test]
    fn a_cameras_password_does_not_get_into_the_log() {
        for (source, want) in [
            ("rtsp://me:p@ss@cam:554/1", "rtsp://cam:554"),
            ("http://cam/video?pwd=geheim", "http://cam"),
            (
                "gst:rtspsrc location=rtsp://me:geheim@cam/1 ! rtpjpegdepay ! appsink",
                "gst:rtspsrc ! rtpjpegdepay ! appsink",
            ),
            ("gst:location=geheim ! appsink", "gst:.. ! appsink"),
            ("http:/me:geheim@10.0.0.5/1", "http://10.0.0.5"),
            ("me:geheim@10.0.0.5:8080/1", ".."),
        ] {
            let spec: SourceSpec = source.parse().unwrap();
            assert_eq!(
                (spec.to_string(), format!("{spec:?}")),
                (want.to_owned(), want.to_owned())
            );
        }
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_shown_by_its_path() {
        for name in [&b"caf\xe9.mjpeg"[..], b"file://caf\xe9.mjpeg"] {
            let spec = SourceSpec::from_os(OsStr::from_bytes(name).into()).unwrap();
            assert_eq!(spec.to_string(), "caf\u{fffd}.mjpeg");
        }
    }

    #[test]
    fn a_url_that_is_not_utf_8_does_not_show_its_password() {
        for (url, want) in [
            (&b"http://me:geheim\xe9@10.0.0.5/1"[..], "http://10.0.0.5"),
            (b"http:/me:geheim\xe9@10.0.0.5/1", "http://10.0.0.5"),
            (b"me:geheim\xe9@10.0.0.5/1", ".."),
        ] {
            let spec = SourceSpec::from_os(OsStr::from_bytes(url).into()).unwrap();
            assert_eq!(spec.to_string(), want);
        }
    }

    #[test]
    fn a_file_that_exists_may_look_like_a_mistyped_url() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a:b@c.mp4");
        let text = path.to_str().unwrap();
        assert!(matches!(text.parse(), Ok(SourceSpec::MistypedUrl(_))));
        std::fs::write(&path, "").unwrap();
        assert_eq!(text.parse(), Ok(SourceSpec::File(path.clone())));
    }

    #[test]
    fn every_source_of_the_help_is_understood() {
        for (text, spec) in [
            ("auto", SourceSpec::Auto),
            ("demo", SourceSpec::Demo),
            ("rpicam", SourceSpec::Rpicam),
            ("-", SourceSpec::Stdin),
            ("0", SourceSpec::Device("/dev/video0".into())),
            ("/dev/video2", SourceSpec::Device("/dev/video2".into())),
            (
                "http://cam/stream",
                SourceSpec::Url("http://cam/stream".to_owned()),
            ),
            (
                "rtsp://cam:554/1",
                SourceSpec::Url("rtsp://cam:554/1".to_owned()),
            ),
            (
                "gst:videotestsrc ! appsink",
                SourceSpec::Gst("videotestsrc ! appsink".to_owned()),
            ),
            ("drive.mp4", SourceSpec::File("drive.mp4".into())),
            (
                "file:///tmp/drive.mp4",
                SourceSpec::File("/tmp/drive.mp4".into()),
            ),
            ("img_%03d.jpg", SourceSpec::File("img_%03d.jpg".into())),
        ] {
            assert_eq!(text.parse(), Ok(spec), "{text}");
        }
        assert!("".parse::<SourceSpec>().is_err());
    }
}

//! Makes the command line of `rpicam-vid` from the sender's own flags and the user's `--rpicam-options`.
//!
//! Pure. The program refuses an option that it gets twice, so the user's take the place of the sender's.

use std::str::FromStr;

use protocol::geometry::Size;

/// Options without which no picture comes through the pipe.
const RESERVED: [&str; 4] = ["-o", "--output", "--codec", "--inline"];

/// The value of `--rpicam-options`, split into words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RpicamOptions(Vec<String>);

impl FromStr for RpicamOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = shlex::split(text)
            .ok_or("a quote is not closed; write it as in a shell: \"--hflip --camera 1\"")?;
        for word in &words {
            let name = word.split('=').next().unwrap_or(word);
            if RESERVED.contains(&name) {
                return Err(format!(
                    "{name} is pi-sender's own, which needs MJPEG on standard output; leave it out"
                ));
            }
        }
        Ok(Self(words))
    }
}

/// Returns the program's arguments.
pub(super) fn arguments(size: Size, fps: f64, quality: u8, options: &RpicamOptions) -> Vec<String> {
    let own = [
        (&["--codec"][..], Some("mjpeg".to_owned())),
        (&["-t", "--timeout"], Some("0".to_owned())),
        (&["--nopreview", "-n"], None),
        (&["--width"], Some(size.width.to_string())),
        (&["--height"], Some(size.height.to_string())),
        (&["--framerate"], Some(fps.to_string())),
        (&["--quality", "-q"], Some(quality.to_string())),
        (&["-o", "--output"], Some("-".to_owned())),
    ];
    let given = |names: &[&str]| {
        let named = |word: &String| names.contains(&word.split('=').next().unwrap_or(word));
        options.0.iter().any(named)
    };
    let own = own.into_iter().filter(|(names, _)| !given(names));
    let own = own
        .flat_map(|(names, value)| [Some(names[0].to_owned()), value])
        .flatten();
    own.chain(options.0.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(options: &str) -> String {
        let size = Size {
            width: 300,
            height: 200,
        };
        arguments(size, 10.0, 80, &options.parse().unwrap()).join(" ")
    }

    #[test]
    fn without_options_the_line_is_the_senders_own() {
        assert_eq!(
            line(""),
            "--codec mjpeg -t 0 --nopreview --width 300 --height 200 --framerate 10 --quality 80 -o -"
        );
    }

    #[test]
    fn options_are_split_as_in_a_shell_and_take_the_place_of_the_senders() {
        assert!(line("--hflip --camera 1").ends_with("-o - --hflip --camera 1"));
        let words: RpicamOptions = "--tuning-file '/a b.json' --denoise=off".parse().unwrap();
        assert_eq!(words.0, ["--tuning-file", "/a b.json", "--denoise=off"]);
        for (options, own) in [
            ("--width=640", "--width 300"),
            ("--framerate 5", "--framerate 10"),
            ("-q 50", "--quality 80"),
            ("-n", "--nopreview"),
        ] {
            let line = line(options);
            assert!(line.ends_with(options) && !line.contains(own), "{line}");
        }
    }

    #[test]
    fn what_would_stop_the_pictures_is_refused() {
        for (options, words) in [
            ("-o file.mjpeg", "-o is pi-sender's own"),
            ("--codec=h264", "--codec is"),
            ("'--hflip", "quote"),
        ] {
            let why = options.parse::<RpicamOptions>().unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}

//! The `ffmpeg` program: whether it can encode H.264 here, and how it is started.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use protocol::geometry::Size;
use protocol::text::printable;

use super::Container;

const PROGRAM: &str = "ffmpeg";
/// Encoders of H.264, the first that ffmpeg has is taken: x264 in software, the Raspberry Pi's and other boards', Cisco's.
const ENCODERS: [&str; 3] = ["libx264", "h264_v4l2m2m", "libopenh264"];
/// Most characters of what ffmpeg says of a failure.
const MAX_CAUSE: usize = 200;

/// What ffmpeg can do on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ffmpeg {
    encoder: &'static str,
    /// Whether it knows `-fps_mode`, which replaced `-vsync` in version 5.1.
    fps_mode: bool,
}

impl Ffmpeg {
    /// Returns ffmpeg if it is on the path and encodes H.264.
    ///
    /// # Errors
    /// What is missing, in words.
    pub(super) fn find() -> Result<Self, &'static str> {
        let output = |argument| {
            let mut command = Command::new(PROGRAM);
            command
                .args(["-hide_banner", argument])
                .stdin(Stdio::null());
            command
                .output()
                .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        };
        let encoders = output("-encoders").map_err(|_| "ffmpeg is not installed")?;
        let encoder = encoder(&encoders).ok_or("this ffmpeg has no encoder of H.264")?;
        let fps_mode = output("-version").is_ok_and(|version| has_fps_mode(&version));
        Ok(Self { encoder, fps_mode })
    }

    /// Starts ffmpeg, which reads Matroska from its standard input and writes the file; it ends when its input does. It has a
    /// process group of its own, so that a closed terminal or Ctrl-C does not end it before it has written all.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(super) fn start(
        self,
        file: &Path,
        container: Container,
        size: Size,
    ) -> anyhow::Result<Child> {
        Command::new(PROGRAM)
            .args(self.arguments(container, size))
            .arg(Path::new(&format!("file:{}", file.display())))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("starting ffmpeg")
    }

    /// A key frame and a fragment each second: what was written before a power cut plays.
    fn arguments(self, container: Container, size: Size) -> Vec<String> {
        // 4:2:0 has one colour for two pixels in each direction, so both sides are even. A picture of another shape, after a
        // camera was turned, has bars.
        let (w, h) = (
            size.width.next_multiple_of(2),
            size.height.next_multiple_of(2),
        );
        let fit = format!(
            "scale={w}:{h}:force_original_aspect_ratio=decrease,pad={w}:{h}:(ow-iw)/2:(oh-ih)/2,setsar=1,format=yuv420p"
        );
        let rate = match self.fps_mode {
            true => ["-fps_mode", "vfr"],
            false => ["-vsync", "vfr"],
        };
        let words = ["-hide_banner", "-loglevel", "error", "-nostdin", "-y"];
        // The times tell the rate; guessed, it would take ffmpeg two seconds of pictures.
        let input = ["-f", "matroska", "-fpsprobesize", "0", "-i", "pipe:0"];
        let keys = ["-force_key_frames", "expr:gte(t,n_forced*1)"];
        let mut all = [&words[..], &input, &["-an", "-vf", &fit], &rate, &keys].concat();
        all.extend(["-c:v", self.encoder]);
        all.extend(match self.encoder {
            // Without its look-ahead a picture is in the file at once.
            "libx264" => ["-preset", "veryfast", "-tune", "zerolatency", "-crf", "23"].as_slice(),
            _ => ["-b:v", "4M"].as_slice(),
        });
        all.extend(match container {
            Container::Mp4 => [
                "-movflags",
                "+frag_keyframe+empty_moov+default_base_moof",
                "-f",
                "mp4",
            ]
            .as_slice(),
            Container::Mkv => ["-cluster_time_limit", "1000", "-f", "matroska"].as_slice(),
            Container::Avi => ["-f", "avi"].as_slice(),
        });
        all.extend(["-flush_packets", "1"]);
        all.into_iter().map(str::to_owned).collect()
    }
}

/// Returns the encoder to take, by the list that `ffmpeg -encoders` prints: a line of flags, name and description for each.
fn encoder(list: &str) -> Option<&'static str> {
    let names = || {
        list.lines()
            .filter_map(|line| line.split_whitespace().nth(1))
    };
    let has = |encoder: &&str| names().any(|name| name == *encoder);
    ENCODERS.into_iter().find(has)
}

/// Returns whether the version that `ffmpeg -version` prints is 5.1 or later; one that is not a number is newer still.
fn has_fps_mode(text: &str) -> bool {
    let version = text.split_whitespace().nth(2).unwrap_or_default();
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    match (next(), next()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)) >= (5, 1),
        _ => true,
    }
}

/// Reads what ffmpeg reports, and returns the last line.
pub(super) fn last_report(stderr: ChildStderr) -> std::io::Result<JoinHandle<String>> {
    let read = move || {
        let lines = BufReader::new(stderr).split(b'\n').map_while(Result::ok);
        let last = lines.filter(|line| !line.is_empty()).last();
        printable(
            &String::from_utf8_lossy(&last.unwrap_or_default()),
            MAX_CAUSE,
        )
    };
    thread::Builder::new().name("ffmpeg".to_owned()).spawn(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_encoder_of_the_list_is_taken() {
        let list = |names: &[&str]| {
            let lines = names
                .iter()
                .map(|name| format!(" V....D {name}  an encoder\n"));
            lines.collect::<String>()
        };
        assert_eq!(
            encoder(&list(&["mjpeg", "h264_v4l2m2m", "libx264"])),
            Some("libx264")
        );
        assert_eq!(encoder(&list(&["h264_v4l2m2m"])), Some("h264_v4l2m2m"));
        assert_eq!(encoder(&list(&["libx264rgb", "mpeg4"])), None);
    }

    #[test]
    fn the_version_decides_on_the_name_of_an_option() {
        for (version, expected) in [
            ("4.4.2-0ubuntu0.22.04.1", false),
            ("5.0", false),
            ("5.1.9-0+deb12u1", true),
            ("7.1", true),
            ("N-113007-g8d24a28d06", true),
        ] {
            let text = format!("ffmpeg version {version} Copyright (c)");
            assert_eq!(has_fps_mode(&text), expected, "{version}");
        }
    }
}

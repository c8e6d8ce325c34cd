//! The other ends of the sender under test: a relay, files, a network camera.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use protocol::datagram::{Datagram, MAX_DATAGRAM, classify};
use protocol::frame::Frame;
use protocol::label::Label;
use testkit::process::{Finished, Program, Running};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A relay that only receives.
pub(crate) struct Relay(pub(crate) UdpSocket);

impl Relay {
    pub(crate) fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn at(addr: SocketAddr) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(socket)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn datagram(&self) -> Vec<u8> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let len = self.0.recv(&mut buffer).expect("a frame comes");
        buffer.truncate(len);
        buffer
    }

    pub(crate) fn frame(&self) -> (Frame, Label) {
        match classify(self.datagram()) {
            Ok(Datagram::Frame(frame)) => {
                let label = frame.label.clone().expect("every frame has a label");
                (frame, label)
            }
            other => panic!("no frame: {other:?}"),
        }
    }
}

/// Returns a sender that no configuration file of this computer changes.
pub(crate) fn sender(words: &[&str]) -> Program {
    Program::new(env!("CARGO_BIN_EXE_pi-sender"))
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .args(words)
}

/// Returns a sender of a source to a relay.
pub(crate) fn sender_to(relay: SocketAddr, source: &str, words: &[&str]) -> Program {
    sender(&["--server", &relay.to_string(), "--source", source]).args(words)
}

/// Runs a program to its end, which has to be of this exit code.
pub(crate) fn expect_exit(program: Program, code: i32) -> Finished {
    let done = program.start().finish();
    assert_eq!(done.status.code(), Some(code), "{}", done.stderr);
    done
}

/// Stops a running sender, which has to end well and soon.
pub(crate) fn stop(running: Running) -> Finished {
    running.terminate();
    let done = running.finish();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(done.stopped_in.unwrap() < Duration::from_secs(2));
    done
}

/// Returns a JPEG of real pixels; `shade` distinguishes it from others.
pub(crate) fn jpeg(width: i32, height: i32, shade: f64) -> Vec<u8> {
    use opencv::core::{CV_8UC3, Mat, Scalar};
    let colour = Scalar::new(shade, 255.0 - shade, 90.0, 0.0);
    let picture = Mat::new_rows_cols_with_default(height, width, CV_8UC3, colour).unwrap();
    // Not the default quality: encoded again, it would have other bytes.
    imaging::jpeg::encode(&picture, 60).unwrap()
}

pub(crate) fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Writes an MJPEG file of so many pictures, and returns its path and the pictures.
pub(crate) fn mjpeg(dir: &Path, count: u8) -> (String, Vec<Vec<u8>>) {
    let pictures: Vec<_> = (0..count)
        .map(|n| jpeg(320, 240, f64::from(n) * 20.0))
        .collect();
    let path = write(dir, "a.mjpeg", pictures.concat());
    (path.to_str().unwrap().to_owned(), pictures)
}

/// Levels of grey between two frames of a video.
pub(crate) const SHADE: u64 = 8;

/// Writes an AVI whose frame n is of shade n, and returns its path.
pub(crate) fn video(dir: &Path, fps: f64, count: u64) -> String {
    use opencv::core::{CV_8UC3, Mat, Scalar, Size};
    use opencv::prelude::*;
    use opencv::videoio::{CAP_OPENCV_MJPEG, VideoWriter};
    let path = dir.join("a.avi").to_str().unwrap().to_owned();
    let codec = i32::from_le_bytes(*b"MJPG");
    let size = Size::new(640, 480);
    let mut file =
        VideoWriter::new_with_backend(&path, CAP_OPENCV_MJPEG, codec, fps, size, true).unwrap();
    for n in 0..count {
        let grey = Scalar::all((n * SHADE) as f64);
        let picture = Mat::new_rows_cols_with_default(480, 640, CV_8UC3, grey).unwrap();
        file.write(&picture).unwrap();
    }
    file.release().unwrap();
    path
}

/// Returns the grey level in a frame's middle.
pub(crate) fn shade(frame: &[u8]) -> u64 {
    use opencv::core::Vec3b;
    use opencv::prelude::*;
    let picture = imaging::jpeg::decode(frame).unwrap();
    picture
        .at_2d::<Vec3b>(picture.rows() / 2, picture.cols() / 2)
        .unwrap()[0]
        .into()
}

/// Starts a network camera that sends each client these pictures again and again for a second, and then hangs up.
pub(crate) fn stream(pictures: Vec<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let pictures = pictures.clone();
            thread::spawn(move || serve(client.unwrap(), &pictures));
        }
    });
    addr
}

fn serve(mut client: TcpStream, pictures: &[Vec<u8>]) -> std::io::Result<()> {
    let _request = client.read(&mut [0; 4096])?;
    client.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n",
    )?;
    for picture in pictures.iter().cycle().take(20) {
        let head = format!(
            "--b\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            picture.len()
        );
        client.write_all(&[head.as_bytes(), picture, b"\r\n"].concat())?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

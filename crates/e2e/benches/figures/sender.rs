//! The cost of the sender beyond the codec, and its pace.

use std::fs;
use std::hint::black_box;
use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use imaging::jpeg;
use nix::time::{ClockId, clock_gettime};
use opencv::core::{Mat, Size};
use opencv::prelude::*;
use opencv::videoio::{CAP_FFMPEG, VideoCapture, VideoWriter};
use testkit::cpu::CpuClock;
use testkit::figures::{Goal, Unit};
use testkit::process::Running;

use crate::programs::{sender, stop};
use crate::{Run, media, us};

const FPS: f64 = 30.0;
/// Number of frames that only warm up.
const WARM: usize = 30;

pub(crate) fn measure(run: &mut Run) {
    let directory = tempfile::tempdir().unwrap();
    let frames = (run.seconds(10, 3).as_secs_f64() * FPS) as usize;

    let video = directory.path().join("raw.avi");
    write_video(&video, 2 * WARM + frames);
    let (ours, bare) = beside(&video, frames, encode_loop);
    // Reading the file counts for neither: a camera delivers its pictures in another way.
    let [ours, floor] = [ours, bare.all].map(|all| us(all.saturating_sub(bare.reading)));
    run.add(
        "sender's CPU a frame, raw 640x480 to 300x200",
        Unit::Us,
        ours,
        ("resize + encode", floor),
        Goal::Times(1.2),
    );

    let jpegs = directory.path().join("camera.mjpeg");
    write_jpegs(&jpegs, WARM + frames);
    let (ours, bare) = beside(&jpegs, frames, send_loop);
    let [ours, bare] = [ours, bare.all].map(us);
    run.add(
        "sender's CPU a frame, MJPEG passed through",
        Unit::Us,
        ours,
        ("send", bare),
        Goal::Most(100.0),
    );

    pace(run);
}

/// The processor time of a frame in a loop without a sender, and the part of it that reads the source.
#[derive(Default)]
struct LoopCost {
    all: Duration,
    reading: Duration,
}

/// Runs a sender with this source and a bare loop over the same, at the same pace and time, and returns the processor time
/// a frame of each.
fn beside(
    source: &Path,
    frames: usize,
    bare: fn(&Path, &UdpSocket, usize) -> LoopCost,
) -> (Duration, LoopCost) {
    let (to, bare_to) = (socket(), socket());
    thread::scope(|scope| {
        let bare = scope.spawn(|| bare(source, &bare_to, frames));
        let running = start(&to, source.to_str().unwrap(), "300x200");
        let cpu = CpuClock::of_program(running.id());
        receive(&to, WARM);
        let before = cpu.spent();
        receive(&to, frames);
        // The sender sleeps again by now.
        thread::sleep(Duration::from_millis(5));
        let spent = cpu.spent() - before;
        (spent / frames as u32, bare.join().unwrap())
    })
}

/// The least work of a sender, with the same calls.
fn encode_loop(video: &Path, _: &UdpSocket, frames: usize) -> LoopCost {
    let mut video = VideoCapture::from_file(video.to_str().unwrap(), CAP_FFMPEG).unwrap();
    let size = "300x200".parse().unwrap();
    let mut picture = Mat::default();
    paced(frames, || {
        let before = thread_time();
        assert!(video.read(&mut picture).unwrap());
        let reading = thread_time() - before;
        black_box(jpeg::encode(&jpeg::resize(&picture, size).unwrap(), 80).unwrap());
        reading
    })
}

fn send_loop(_: &Path, to: &UdpSocket, frames: usize) -> LoopCost {
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    from.connect(to.local_addr().unwrap()).unwrap();
    let jpegs = media::camera();
    let mut next = jpegs.iter().cycle();
    paced(frames, || {
        from.send(next.next().unwrap()).unwrap();
        Duration::ZERO
    })
}

/// Runs so many rounds at the sender's pace, after some that do not count; a round returns the time that it has read.
fn paced(frames: usize, mut round: impl FnMut() -> Duration) -> LoopCost {
    let start = Instant::now();
    let (mut before, mut reading) = (Duration::ZERO, Duration::ZERO);
    for n in 0..WARM + frames {
        let due = start + Duration::from_secs_f64(n as f64 / FPS);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if n == WARM {
            (before, reading) = (thread_time(), Duration::ZERO);
        }
        reading += round();
    }
    let frames = frames as u32;
    LoopCost {
        all: (thread_time() - before) / frames,
        reading: reading / frames,
    }
}

/// Returns the processor time of the calling thread.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// Measures `--fps 30` at 640x480, by the time between the first and the last frame that arrive.
fn pace(run: &mut Run) {
    let to = socket();
    let running = start(&to, "demo", "640x480");
    receive(&to, WARM);
    let first = Instant::now();
    let seconds = run.seconds(60, 5).as_secs();
    let frames = (FPS * seconds as f64) as usize;
    receive(&to, frames);
    let rate = frames as f64 / first.elapsed().as_secs_f64();
    drop(stop(running));
    let name = format!("sender's pace, demo 640x480, over {seconds} s");
    run.add(
        &name,
        Unit::Fps,
        rate,
        ("--fps 30", FPS),
        Goal::Within(0.01),
    );
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    platform::udp::grow_receive_buffer(&socket);
    socket
}

fn receive(socket: &UdpSocket, frames: usize) {
    for _ in 0..frames {
        socket.recv(&mut [0; 16]).expect("the sender sends");
    }
}

fn start(to: &UdpSocket, source: &str, size: &str) -> Running {
    sender(
        to.local_addr().unwrap(),
        &["--source", source, "--loop", "--size", size, "--fps", "30"],
    )
}

/// Writes an uncompressed video, so that reading it costs next to nothing, as with a camera.
fn write_video(path: &Path, frames: usize) {
    let fourcc = VideoWriter::fourcc('I', '4', '2', '0').unwrap();
    let mut writer = VideoWriter::new(
        path.to_str().unwrap(),
        fourcc,
        FPS,
        Size::new(640, 480),
        true,
    )
    .unwrap();
    assert!(writer.is_opened().unwrap());
    let pictures: Vec<Mat> = (0..8).map(|_| media::cloudy(640, 480)).collect();
    pictures
        .iter()
        .cycle()
        .take(frames)
        .for_each(|picture| writer.write(picture).unwrap());
    writer.release().unwrap();
}

fn write_jpegs(path: &Path, frames: usize) {
    let jpegs = media::camera();
    let stream: Vec<u8> = jpegs
        .iter()
        .cycle()
        .take(frames)
        .flatten()
        .copied()
        .collect();
    fs::write(path, stream).unwrap();
}

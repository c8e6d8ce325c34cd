//! What the figures were measured on, and what else it did meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use testkit::cpu;
use vision::detect::runtime;

/// One line on the machine.
pub(crate) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let opencv = opencv::core::get_version_string().unwrap_or_default();
    format!(
        "machine: {}, {cores} cores, Linux {}, OpenCV {opencv}, ONNX Runtime {}",
        model.unwrap_or("an unknown processor"),
        kernel.trim(),
        onnxruntime()
    )
}

/// The version that `scripts/setup` noted beside the library it installed.
fn onnxruntime() -> String {
    let version = runtime::model("libonnxruntime.so.version".as_ref());
    let version = version.ok().and_then(|file| fs::read_to_string(file).ok());
    version.map_or_else(
        || "of unknown version".to_owned(),
        |text| text.trim().to_owned(),
    )
}

/// How much of the machine was taken by others.
pub(crate) struct Load {
    start: Instant,
    machine: Duration,
}

impl Load {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            machine: cpu::machine(),
        }
    }

    /// In cores, on average over the run.
    pub(crate) fn say(&self) -> String {
        let all = (cpu::machine() - self.machine).saturating_sub(own());
        let cores = all.as_secs_f64() / self.start.elapsed().as_secs_f64();
        format!(
            "other programs took {cores:.2} cores on average during this run of {:.0} s",
            self.start.elapsed().as_secs_f64()
        )
    }
}

/// This program and those it started and saw end.
fn own() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(") ").next().unwrap_or_default();
    // utime, stime, cutime, cstime: fields 14 to 17; the state behind the name is field 3
    let ticks = behind_name.split_whitespace().skip(11).take(4);
    Duration::from_millis(10 * ticks.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>())
}

//! The machine of a run, and the load of other programs on it meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use testkit::cpu;
use vision::detect::runtime;

/// Returns one line on the machine.
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

/// Returns the version that `scripts/setup` noted beside the library it installed.
fn onnxruntime() -> String {
    let version = runtime::model("libonnxruntime.so.version".as_ref());
    let version = version.ok().and_then(|file| fs::read_to_string(file).ok());
    version.map_or_else(
        || "of unknown version".to_owned(),
        |text| text.trim().to_owned(),
    )
}

/// A measurement of the processor time of other programs.
pub(crate) struct BackgroundLoad {
    start: Instant,
    machine: Duration,
}

impl BackgroundLoad {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            machine: cpu::machine(),
        }
    }

    /// Returns one line: the cores that other programs used, on average over the run.
    pub(crate) fn describe(&self) -> String {
        let all = (cpu::machine() - self.machine).saturating_sub(own_time());
        let cores = all.as_secs_f64() / self.start.elapsed().as_secs_f64();
        format!(
            "other programs took {cores:.2} cores on average during this run of {:.0} s",
            self.start.elapsed().as_secs_f64()
        )
    }
}

/// Returns the processor time of this program and of its children that have ended.
fn own_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    // utime, stime, cutime, cstime: fields 14 to 17; the state after the name is field 3
    let ticks = after_name.split_whitespace().skip(11).take(4);
    Duration::from_millis(10 * ticks.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>())
}

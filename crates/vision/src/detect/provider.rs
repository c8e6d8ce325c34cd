//! ONNX Runtime's execution providers, and why one does not work. Pure.

use std::fmt;

use thiserror::Error;

/// An execution provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The processor, by ONNX Runtime itself. Every build has it.
    Cpu,
    /// NVIDIA's CUDA.
    Cuda,
    /// NVIDIA's TensorRT.
    Tensorrt,
    /// Intel's OpenVINO.
    Openvino,
}

impl Provider {
    /// All but the processor, which every build has.
    pub const EXTRA: [Self; 3] = [Self::Cuda, Self::Tensorrt, Self::Openvino];

    /// Returns ONNX Runtime's name, as it stands in profiles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
            Self::Tensorrt => "TensorrtExecutionProvider",
            Self::Openvino => "OpenVINOExecutionProvider",
        }
    }

    /// Returns what has to be installed.
    fn cure(self) -> &'static str {
        match self {
            Self::Cpu => "nothing is needed",
            Self::Cuda => {
                "needed are NVIDIA's driver, the Python package onnxruntime-gpu[cuda,cudnn], its libonnxruntime.so.* \
                 named with --onnxruntime FILE, and LD_LIBRARY_PATH with the lib folders of the nvidia-* packages that \
                 come with it"
            }
            Self::Tensorrt => {
                "needed are NVIDIA's driver, the Python packages onnxruntime-gpu[cuda,cudnn] and tensorrt, \
                 libonnxruntime.so.* of the first named with --onnxruntime FILE, and LD_LIBRARY_PATH with the folders of \
                 the nvidia-* and tensorrt_libs libraries that come with them"
            }
            Self::Openvino => {
                "needed is the Python package onnxruntime-openvino: name its libonnxruntime.so.* with --onnxruntime FILE \
                 and its folder in LD_LIBRARY_PATH"
            }
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
            Self::Openvino => "openvino",
        })
    }
}

/// Why a provider does not work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrialFailure {
    /// It did not start: ONNX Runtime's message.
    #[error("{}", cause(.0))]
    Start(String),
    /// By the profile of its run it left convolutions to the processor.
    #[error("it left {elsewhere} of the model's {} convolutions to the processor", there + elsewhere)]
    Elsewhere {
        /// Nodes of the graph that it ran, which may be the whole model as one.
        there: usize,
        /// Convolutions that ran on the processor.
        elsewhere: usize,
    },
    /// Its result differs from the processor's.
    #[error("its numbers are not those of the processor")]
    Wrong,
}

/// Why the provider that `--provider` names is not used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// ONNX Runtime was built without it.
    #[error("--provider {provider}: this build of ONNX Runtime is without it (it has {}); {}", list(.offered), .provider.cure())]
    NotBuilt {
        /// The one that is wanted.
        provider: Provider,
        /// Those that it has besides the processor.
        offered: Vec<Provider>,
    },
    /// It does not work.
    #[error("--provider {0}: {1}; {cure}", cure = .0.cure())]
    Fails(Provider, TrialFailure),
}

/// Puts the cause of a failed start before ONNX Runtime's message.
fn cause(message: &str) -> String {
    const MISSING: &str = ": cannot open shared object file";
    const NO_DEVICE: [&str; 4] = [
        "no CUDA-capable device",
        "CUDA driver version is insufficient",
        "libcuda.so.1",
        "Failed to find any device",
    ];
    let first = message.lines().next().unwrap_or_default();
    // Its source file and function stand before this.
    let plain = first
        .split_once(" : FAIL : ")
        .map_or(first, |(_, plain)| plain);
    let short: String = plain.chars().take(300).collect();
    let library = message
        .split_once(MISSING)
        .and_then(|(before, _)| before.split_whitespace().next_back());
    if NO_DEVICE.iter().any(|text| message.contains(text)) {
        format!("there is no device for it, or no driver ({short})")
    } else if let Some(library) = library {
        format!("the library {library} is missing ({short})")
    } else {
        format!("it did not start ({short})")
    }
}

fn list(offered: &[Provider]) -> String {
    let all = [Provider::Cpu].iter().chain(offered);
    all.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_missing_library_or_the_missing_device() {
        for (message, want) in [
            (
                "/src/x.cc:1 Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /x/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open \
                 shared object file: No such file or directory",
                "the library libcublasLt.so.13 is missing (Failed",
            ),
            (
                "CUDA failure 100: no CUDA-capable device is detected ; GPU=0",
                "there is no device for it, or no driver (CUDA",
            ),
            (
                "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version",
                "no driver",
            ),
            ("libcuda.so.1: cannot open shared object file", "no driver"),
            (
                "something else\nand more",
                "it did not start (something else)",
            ),
        ] {
            let shown = TrialFailure::Start(message.to_owned()).to_string();
            assert!(shown.contains(want), "{shown}");
        }
    }
}

//! What runs the model: the choice between ONNX Runtime's execution providers. Pure.
//!
//! ONNX Runtime takes a provider that it cannot start for no reason to stop: it runs the model on the processor and says
//! nothing. So nothing is believed here. A provider is tried with the model at hand, and works where the profile of that
//! run shows the model's convolutions there and the numbers are those of the processor. One that was asked for and does
//! not work ends the program; `auto` passes over it and says why.
//!
//! `auto` leaves out TensorRT, which builds an engine for every input size, for minutes, at every start.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
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
    /// Those that are no matter of course.
    pub const EXTRA: [Self; 3] = [Self::Cuda, Self::Tensorrt, Self::Openvino];

    /// ONNX Runtime's name for it, as it stands in profiles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
            Self::Tensorrt => "TensorrtExecutionProvider",
            Self::Openvino => "OpenVINOExecutionProvider",
        }
    }

    /// What has to be there.
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

/// A provider that works, with the model loaded there.
#[derive(Debug)]
pub struct Working<N> {
    /// The model.
    pub network: N,
    /// How long a run takes.
    pub took: Duration,
}

/// Why a provider does not work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// ONNX Runtime's words.
    #[error("{}", cause(.0))]
    Start(String),
    /// The run's profile.
    #[error("it left {elsewhere} of the model's {} convolutions to the processor", there + elsewhere)]
    Elsewhere {
        /// Nodes of the graph that it ran, which may be the whole model as one.
        there: usize,
        /// Convolutions that ran on the processor.
        elsewhere: usize,
    },
    /// Another result than the processor's.
    #[error("its numbers are not those of the processor")]
    Wrong,
}

/// Why the provider that was asked for is not used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// ONNX Runtime was built without it.
    #[error("--provider {provider}: this build of ONNX Runtime is without it (it has {}); {}", list(.offered), .provider.cure())]
    NotBuilt {
        /// The one that was asked for.
        provider: Provider,
        /// What it has.
        offered: Vec<Provider>,
    },
    /// It does not work.
    #[error("--provider {0}: {1}; {cure}", cure = .0.cure())]
    Fails(Provider, Failure),
}

/// What runs the model.
#[derive(Debug)]
pub struct Choice<N> {
    /// The provider.
    pub provider: Provider,
    /// The model, loaded there.
    pub network: N,
    /// What `auto` tried and did not take, and why.
    pub passed_over: Vec<(Provider, String)>,
}

/// What `auto` tries, the best first.
const AUTO: [Provider; 2] = [Provider::Cuda, Provider::Openvino];
/// `auto` leaves the processor for what is faster by this. OpenVINO on a processor is about as fast as ONNX Runtime
/// itself, and a choice that hung on chance would give other boxes after every start.
const FASTER: f64 = 1.5;

/// Pictures of one run, where several pay.
pub const BATCH: usize = 4;

/// How many pictures a run takes, by the time of a run with one and of a run with [`BATCH`]: several only where a fifth is
/// gained, since the first of them waits for the last.
pub fn batch(one: Duration, several: Duration) -> usize {
    let pays = several <= one.mul_f64(0.8 * BATCH as f64);
    if pays { BATCH } else { 1 }
}

/// Chooses by what was asked for (`None` is auto), what the library offers besides the processor, and what a trial says.
///
/// # Errors
/// Where the one that was asked for does not work.
pub fn choose<N>(
    asked: Option<Provider>,
    offered: &[Provider],
    cpu: Working<N>,
    mut attempt: impl FnMut(Provider) -> Result<Working<N>, Failure>,
) -> Result<Choice<N>, Refusal> {
    let mut passed_over = Vec::new();
    let chosen = |provider, network, passed_over| Choice {
        provider,
        network,
        passed_over,
    };
    match asked {
        Some(Provider::Cpu) => {}
        Some(provider) if !offered.contains(&provider) => {
            let offered = offered.to_vec();
            return Err(Refusal::NotBuilt { provider, offered });
        }
        Some(provider) => {
            let working = attempt(provider).map_err(|why| Refusal::Fails(provider, why))?;
            return Ok(chosen(provider, working.network, passed_over));
        }
        None => {
            for provider in AUTO.into_iter().filter(|one| offered.contains(one)) {
                match attempt(provider) {
                    Ok(working) if cpu.took >= working.took.mul_f64(FASTER) => {
                        return Ok(chosen(provider, working.network, passed_over));
                    }
                    Ok(working) => passed_over.push((provider, slow(working.took, cpu.took))),
                    Err(why) => passed_over.push((provider, why.to_string())),
                }
            }
        }
    }
    Ok(chosen(Provider::Cpu, cpu.network, passed_over))
}

/// Looks into the profile of a run, as ONNX Runtime writes it, whether `provider` ran the model.
///
/// Small things, such as the arithmetic of shapes, belong on the processor everywhere. Convolutions are what costs.
///
/// # Errors
/// Where the processor ran convolutions, or the provider nothing.
pub fn ran_there(profile: &str, provider: Provider) -> Result<(), Failure> {
    let events: Value = serde_json::from_str(profile)
        .map_err(|err| Failure::Start(format!("the profile of its run is unreadable: {err}")))?;
    let nodes = events.as_array().into_iter().flatten().filter(|event| {
        let name = event["name"].as_str().unwrap_or_default();
        event["cat"] == "Node" && name.ends_with("_kernel_time")
    });
    let (mut there, mut elsewhere) = (0, 0);
    for node in nodes {
        let operator = node["args"]["op_name"].as_str().unwrap_or_default();
        if node["args"]["provider"] == provider.name() {
            there += 1;
        } else if operator.contains("Conv") {
            elsewhere += 1;
        }
    }
    if there == 0 || elsewhere > 0 {
        return Err(Failure::Elsewhere { there, elsewhere });
    }
    Ok(())
}

/// Whether two outputs are the same but for rounding, which differs from device to device: a broken one gives nothing,
/// noise or NaN.
pub fn agree(reference: &[f32], other: &[f32]) -> bool {
    let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    let size = sum(&mut reference.iter().map(|&value| f64::from(value).abs()));
    let pairs = reference.iter().zip(other);
    let apart = sum(&mut pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()));
    reference.len() == other.len() && apart <= size / 100.0
}

/// What is behind ONNX Runtime's words, in front of them.
fn cause(words: &str) -> String {
    const MISSING: &str = ": cannot open shared object file";
    const NO_DEVICE: [&str; 4] = [
        "no CUDA-capable device",
        "CUDA driver version is insufficient",
        "libcuda.so.1",
        "Failed to find any device",
    ];
    let first = words.lines().next().unwrap_or_default();
    // Its source file and function stand before this.
    let plain = first
        .split_once(" : FAIL : ")
        .map_or(first, |(_, plain)| plain);
    let short: String = plain.chars().take(300).collect();
    let library = words
        .split_once(MISSING)
        .and_then(|(before, _)| before.split_whitespace().next_back());
    if NO_DEVICE.iter().any(|text| words.contains(text)) {
        format!("there is no device for it, or no driver ({short})")
    } else if let Some(library) = library {
        format!("the library {library} is missing ({short})")
    } else {
        format!("it did not start ({short})")
    }
}

fn slow(took: Duration, cpu: Duration) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!(
        "it takes {:.1} ms a picture, the processor {:.1}",
        ms(took),
        ms(cpu)
    )
}

fn list(offered: &[Provider]) -> String {
    let all = [Provider::Cpu].iter().chain(offered);
    all.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Duration = Duration::from_millis(30);
    const ALL: [Provider; 3] = Provider::EXTRA;

    type Tried = Result<u64, Failure>;

    /// Chooses where these providers take so many milliseconds or fail so.
    fn chosen(
        asked: Option<Provider>,
        offered: &[Provider],
        trial: impl Fn(Provider) -> Tried,
    ) -> Result<(Provider, Vec<Provider>), Refusal> {
        let working = |provider, took| Working {
            network: provider,
            took,
        };
        let cpu = working(Provider::Cpu, CPU);
        let choice = choose(asked, offered, cpu, |provider| {
            trial(provider).map(|ms| working(provider, Duration::from_millis(ms)))
        })?;
        assert_eq!(choice.network, choice.provider, "its own model");
        let passed_over = choice.passed_over.iter().map(|(one, _)| *one).collect();
        Ok((choice.provider, passed_over))
    }

    fn missing() -> Tried {
        Err(Failure::Start("libx: no".to_owned()))
    }

    #[test]
    fn auto_takes_the_first_that_works_and_is_clearly_faster() {
        let auto = |offered: &[_], trial: &dyn Fn(Provider) -> Tried| {
            chosen(None, offered, trial).unwrap()
        };
        assert_eq!(auto(&ALL, &|_| Ok(3)), (Provider::Cuda, vec![]));
        assert_eq!(
            auto(&[Provider::Openvino], &|_| Ok(20)),
            (Provider::Openvino, vec![])
        );
        assert_eq!(
            auto(&[Provider::Openvino], &|_| Ok(21)),
            (Provider::Cpu, vec![Provider::Openvino]),
            "half as fast again is the least"
        );
        let broken_cuda = |provider| match provider {
            Provider::Cuda => missing(),
            _ => Ok(10),
        };
        assert_eq!(
            auto(&ALL, &broken_cuda),
            (Provider::Openvino, vec![Provider::Cuda])
        );
        assert_eq!(
            auto(&ALL, &|_| missing()),
            (Provider::Cpu, vec![Provider::Cuda, Provider::Openvino])
        );
    }

    #[test]
    fn auto_tries_nothing_that_the_library_has_not_and_never_tensorrt() {
        let tried = |provider| panic!("{provider} was tried");
        assert_eq!(chosen(None, &[], tried), Ok((Provider::Cpu, vec![])));
        assert_eq!(
            chosen(None, &[Provider::Tensorrt], tried),
            Ok((Provider::Cpu, vec![]))
        );
    }

    #[test]
    fn cpu_is_taken_without_any_trial() {
        let tried = |provider| panic!("{provider} was tried");
        assert_eq!(
            chosen(Some(Provider::Cpu), &ALL, tried),
            Ok((Provider::Cpu, vec![]))
        );
    }

    #[test]
    fn what_was_asked_for_is_taken_however_slow_or_nothing_is() {
        for provider in ALL {
            assert_eq!(
                chosen(Some(provider), &ALL, |_| Ok(999)),
                Ok((provider, vec![]))
            );
            let without = chosen(Some(provider), &[], |_| Ok(1)).unwrap_err();
            let said = without.to_string();
            assert!(
                said.contains(&format!("--provider {provider}: "))
                    && said.contains("(it has cpu)")
                    && said.contains("package"),
                "{said}"
            );
            for failure in [
                Failure::Wrong,
                missing().unwrap_err(),
                Failure::Elsewhere {
                    there: 0,
                    elsewhere: 60,
                },
            ] {
                let refused = chosen(Some(provider), &ALL, |_| Err(failure.clone())).unwrap_err();
                assert_eq!(refused, Refusal::Fails(provider, failure));
                assert!(refused.to_string().contains("package"), "{refused}");
            }
        }
    }

    #[test]
    fn the_build_says_what_it_has() {
        let refused = chosen(Some(Provider::Openvino), &[Provider::Cuda], |_| Ok(1));
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("it has cpu, cuda"), "{said}");
        assert!(said.contains("onnxruntime-openvino"), "{said}");
    }

    #[test]
    fn a_failure_names_the_missing_library_or_the_missing_device() {
        for (words, want) in [
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
            let said = Failure::Start(words.to_owned()).to_string();
            assert!(said.contains(want), "{said}");
        }
    }

    #[test]
    fn several_pictures_go_in_one_run_where_a_fifth_is_gained() {
        let ms = Duration::from_millis;
        assert_eq!(batch(ms(10), ms(32)), BATCH);
        assert_eq!(batch(ms(10), ms(33)), 1);
        assert_eq!(batch(ms(10), ms(10)), BATCH);
    }

    fn node(provider: &str, operator: &str) -> String {
        format!(
            r#"{{"cat":"Node","name":"n_kernel_time","dur":3,"args":{{"provider":"{provider}","op_name":"{operator}"}}}}"#
        )
    }

    fn profile(nodes: &[(&str, &str)]) -> String {
        let nodes: Vec<String> = nodes.iter().map(|(p, o)| node(p, o)).collect();
        format!(
            r#"[{{"cat":"Session","name":"model_run","args":{{}}}},{}]"#,
            nodes.join(",")
        )
    }

    #[test]
    fn a_model_ran_where_its_convolutions_did() {
        let (cpu, cuda) = (Provider::Cpu.name(), Provider::Cuda.name());
        let ran = |nodes: &[_]| ran_there(&profile(nodes), Provider::Cuda);
        assert_eq!(ran(&[(cuda, "Conv"), (cpu, "Shape")]), Ok(()));
        assert_eq!(
            ran(&[(cpu, "Conv"), (cpu, "FusedConv")]),
            Err(Failure::Elsewhere {
                there: 0,
                elsewhere: 2
            })
        );
        assert_eq!(
            ran(&[(cuda, "Conv"), (cpu, "Conv")]),
            Err(Failure::Elsewhere {
                there: 1,
                elsewhere: 1
            })
        );
        assert_eq!(
            ran(&[(cpu, "Shape")]),
            Err(Failure::Elsewhere {
                there: 0,
                elsewhere: 0
            }),
            "nothing ran there"
        );
        let whole = profile(&[(Provider::Openvino.name(), "OpenVINO-EP-subgraph_1")]);
        assert_eq!(ran_there(&whole, Provider::Openvino), Ok(()));
        assert!(ran_there("no profile", Provider::Cuda).is_err());
        assert!(ran_there("{}", Provider::Cuda).is_err());
    }

    #[test]
    fn outputs_agree_but_for_rounding() {
        let reference = [100.0, 200.0, 0.5];
        assert!(agree(&reference, &reference));
        assert!(agree(&reference, &[100.4, 199.6, 0.5]));
        assert!(!agree(&reference, &[100.0, 200.0]));
        assert!(!agree(&reference, &[0.0, 0.0, 0.0]));
        assert!(!agree(&reference, &[100.0, f32::NAN, 0.5]));
        assert!(!agree(&reference, &[100.0, 196.0, 0.5]));
    }
}

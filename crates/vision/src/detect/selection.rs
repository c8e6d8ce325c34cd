//! Selects the execution provider that runs the model. Pure.
//!
//! ONNX Runtime does not stop if it cannot start a provider: it runs the model on the processor and reports nothing. So a
//! provider is tried with the model at hand, and works if [`super::verify`] finds it in that run's profile and numbers.
//! One that `--provider` names and that does not work ends the program; `auto` passes over it and logs why.
//!
//! `auto` leaves out TensorRT, which builds an engine for every input size, for minutes, at every start.

use std::time::Duration;

use super::provider::{Provider, ProviderError, TrialFailure};

/// A successful trial of a provider.
#[derive(Debug)]
pub struct Trial<N> {
    /// The model, loaded there.
    pub network: N,
    /// Time of a run.
    pub took: Duration,
}

/// The provider that runs the model.
#[derive(Debug)]
pub struct Selection<N> {
    /// The provider.
    pub provider: Provider,
    /// The model, loaded there.
    pub network: N,
    /// Those that `auto` tried and did not take, and why.
    pub passed_over: Vec<(Provider, String)>,
}

/// Providers that `auto` tries, the best first.
const AUTO_ORDER: [Provider; 2] = [Provider::Cuda, Provider::Openvino];
/// Least speedup for which `auto` leaves the processor. OpenVINO on a processor is about as fast as ONNX Runtime itself,
/// and a selection by chance would give other boxes after every start.
const MIN_SPEEDUP: f64 = 1.5;

/// Pictures of one run, if several pay.
pub const BATCH_SIZE: usize = 4;

/// Returns how many pictures a run takes, from the time of a run with one and of a run with [`BATCH_SIZE`]: several only
/// if a fifth is gained, since the first of them waits for the last.
pub fn batch_size(one: Duration, several: Duration) -> usize {
    let pays = several <= one.mul_f64(0.8 * BATCH_SIZE as f64);
    if pays { BATCH_SIZE } else { 1 }
}

/// Selects by what `--provider` names (`None` is auto), what the library offers besides the processor, and the outcome of
/// a trial.
///
/// # Errors
/// If the provider that was named does not work.
pub fn select<N>(
    wanted: Option<Provider>,
    offered: &[Provider],
    cpu: Trial<N>,
    mut try_provider: impl FnMut(Provider) -> Result<Trial<N>, TrialFailure>,
) -> Result<Selection<N>, ProviderError> {
    let mut passed_over = Vec::new();
    let selection = |provider, network, passed_over| Selection {
        provider,
        network,
        passed_over,
    };
    match wanted {
        Some(Provider::Cpu) => {}
        Some(provider) if !offered.contains(&provider) => {
            let offered = offered.to_vec();
            return Err(ProviderError::NotBuilt { provider, offered });
        }
        Some(provider) => {
            let trial =
                try_provider(provider).map_err(|why| ProviderError::Fails(provider, why))?;
            return Ok(selection(provider, trial.network, passed_over));
        }
        None => {
            for provider in AUTO_ORDER.into_iter().filter(|one| offered.contains(one)) {
                match try_provider(provider) {
                    Ok(trial) if cpu.took >= trial.took.mul_f64(MIN_SPEEDUP) => {
                        return Ok(selection(provider, trial.network, passed_over));
                    }
                    Ok(trial) => passed_over.push((provider, slow(trial.took, cpu.took))),
                    Err(why) => passed_over.push((provider, why.to_string())),
                }
            }
        }
    }
    Ok(selection(Provider::Cpu, cpu.network, passed_over))
}

fn slow(took: Duration, cpu: Duration) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!(
        "it takes {:.1} ms a picture, the processor {:.1}",
        ms(took),
        ms(cpu)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Duration = Duration::from_millis(30);
    const ALL: [Provider; 3] = Provider::EXTRA;

    type Outcome = Result<u64, TrialFailure>;

    /// Selects where a trial takes so many milliseconds or fails so.
    fn selected(
        wanted: Option<Provider>,
        offered: &[Provider],
        trial: impl Fn(Provider) -> Outcome,
    ) -> Result<(Provider, Vec<Provider>), ProviderError> {
        let success = |provider, took| Trial {
            network: provider,
            took,
        };
        let cpu = success(Provider::Cpu, CPU);
        let selection = select(wanted, offered, cpu, |provider| {
            trial(provider).map(|ms| success(provider, Duration::from_millis(ms)))
        })?;
        assert_eq!(selection.network, selection.provider, "its own model");
        let passed_over = selection.passed_over.iter().map(|(one, _)| *one).collect();
        Ok((selection.provider, passed_over))
    }

    fn missing() -> Outcome {
        Err(TrialFailure::Start("libx: no".to_owned()))
    }

    #[test]
    fn auto_takes_the_first_that_works_and_is_clearly_faster() {
        let auto = |offered: &[_], trial: &dyn Fn(Provider) -> Outcome| {
            selected(None, offered, trial).unwrap()
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
        assert_eq!(selected(None, &[], tried), Ok((Provider::Cpu, vec![])));
        assert_eq!(
            selected(None, &[Provider::Tensorrt], tried),
            Ok((Provider::Cpu, vec![]))
        );
    }

    #[test]
    fn cpu_is_taken_without_any_trial() {
        let tried = |provider| panic!("{provider} was tried");
        assert_eq!(
            selected(Some(Provider::Cpu), &ALL, tried),
            Ok((Provider::Cpu, vec![]))
        );
    }

    #[test]
    fn what_was_asked_for_is_taken_however_slow_or_nothing_is() {
        for provider in ALL {
            assert_eq!(
                selected(Some(provider), &ALL, |_| Ok(999)),
                Ok((provider, vec![]))
            );
            let without = selected(Some(provider), &[], |_| Ok(1)).unwrap_err();
            let message = without.to_string();
            assert!(
                message.contains(&format!("--provider {provider}: "))
                    && message.contains("(it has cpu)")
                    && message.contains("package"),
                "{message}"
            );
            for failure in [
                TrialFailure::Wrong,
                missing().unwrap_err(),
                TrialFailure::Elsewhere {
                    there: 0,
                    elsewhere: 60,
                },
            ] {
                let refused = selected(Some(provider), &ALL, |_| Err(failure.clone())).unwrap_err();
                assert_eq!(refused, ProviderError::Fails(provider, failure));
                assert!(refused.to_string().contains("package"), "{refused}");
            }
        }
    }

    #[test]
    fn the_build_says_what_it_has() {
        let refused = selected(Some(Provider::Openvino), &[Provider::Cuda], |_| Ok(1));
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("it has cpu, cuda"), "{message}");
        assert!(message.contains("onnxruntime-openvino"), "{message}");
    }

    #[test]
    fn several_pictures_go_in_one_run_where_a_fifth_is_gained() {
        let ms = Duration::from_millis;
        assert_eq!(batch_size(ms(10), ms(32)), BATCH_SIZE);
        assert_eq!(batch_size(ms(10), ms(33)), 1);
        assert_eq!(batch_size(ms(10), ms(10)), BATCH_SIZE);
    }
}

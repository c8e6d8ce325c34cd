//! Loads the model where it runs best: the shell of [`super::provider`].
//!
//! The processor always loads it first. So a model that is none is refused in its own words, and a provider is held
//! against numbers that are right.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ort::environment::Environment;
use tracing::info;

use super::onnx::{self, Network, SessionOptions, Weights};
use super::provider::{self, Choice, Failure, Provider, Working};
use super::yolo::Size;

/// A loaded model, and how it is run.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub network: Network,
    /// What runs it.
    pub provider: Provider,
    /// Numbers in a row of its output.
    pub columns: usize,
    /// Pictures in one run, at most.
    pub batch: usize,
}

/// Loads a model with what was asked for, or by `None` with the best that works.
///
/// `size` chooses the input size of the first run from the one that the export fixed.
///
/// # Errors
/// What is wrong with the model, or with the provider that was asked for, and the cure.
pub fn load(
    environment: &Environment,
    weights: Weights,
    asked: Option<Provider>,
    threads: usize,
    size: impl FnOnce(Option<Size>) -> anyhow::Result<Size>,
) -> anyhow::Result<Loaded> {
    let open = |provider, profile: Option<&Path>| {
        let place = SessionOptions {
            provider,
            threads,
            profile,
        };
        Network::load(environment, weights, place)
    };
    let mut cpu = open(Provider::Cpu, None)?;
    let net = size(cpu.fixed)?;
    let pixels = pattern(net);
    let (reference, columns) =
        cpu.run(&pixels, net, |values, columns| (values.to_vec(), columns))?;
    let offered = onnx::offered();
    let cpu = Working {
        // What nothing is compared with need not be measured.
        took: if asked.is_none() && !offered.is_empty() {
            fastest(&mut cpu, &pixels, net)?
        } else {
            Duration::ZERO
        },
        network: cpu,
    };
    let Choice {
        provider,
        mut network,
        passed_over,
    } = provider::choose(asked, &offered, cpu, |provider| {
        let scratch = tempfile::tempdir().map_err(|err| Failure::Start(err.to_string()))?;
        let profile = scratch.path().join("trial");
        let network = open(provider, Some(&profile));
        let network = network.map_err(|err| Failure::Start(format!("{err:#}")))?;
        attempt(network, provider, &reference, &pixels, net)
    })?;
    for (one, why) in passed_over {
        info!(provider = %one, "passed over: {why}");
    }
    let batch = batch(&mut network, provider, net)?;
    info!(%provider, batch, "the model is loaded");
    Ok(Loaded {
        network,
        provider,
        columns,
        batch,
    })
}

/// Runs a model under a profile, and looks whether it was really run there, and rightly.
fn attempt(
    mut network: Network,
    provider: Provider,
    reference: &[f32],
    pixels: &[f32],
    net: Size,
) -> Result<Working<Network>, Failure> {
    let failed = |err: anyhow::Error| Failure::Start(format!("{err:#}"));
    let agrees = |values: &[f32], _| provider::agree(reference, values);
    let agrees = network.run(pixels, net, agrees).map_err(failed)?;
    let profile = network.end_profile().map_err(failed)?;
    provider::ran_there(&profile, provider)?;
    if !agrees {
        return Err(Failure::Wrong);
    }
    let took = fastest(&mut network, pixels, net).map_err(failed)?;
    Ok(Working { network, took })
}

/// Pictures in one run. The processor gains nothing by several (see the documentation of [`super`]), TensorRT would build
/// an engine for every number of them; others are measured.
fn batch(network: &mut Network, provider: Provider, net: Size) -> anyhow::Result<usize> {
    if matches!(provider, Provider::Cpu | Provider::Tensorrt) || !network.free_batch {
        return Ok(1);
    }
    let one = pattern(net);
    let alone = fastest(network, &one, net)?;
    let several = one.repeat(provider::BATCH);
    let nothing = |_: &[f32], _| ();
    network
        .run(&several, net, nothing)
        .context("several pictures")?;
    Ok(provider::batch(alone, fastest(network, &several, net)?))
}

/// The shortest of three runs: the others were disturbed.
fn fastest(network: &mut Network, pixels: &[f32], net: Size) -> anyhow::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        network.run(pixels, net, |_, _| ())?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

/// A picture on which every part of a network has something to do: stripes that grow finer.
fn pattern(net: Size) -> Vec<f32> {
    let wave = |n: usize| (n * n % 251) as f32 / 250.0;
    (0..(3 * net.width * net.height) as usize)
        .map(wave)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::detect::{DEMO, runtime};

    const NET: Size = Size {
        width: 320,
        height: 224,
    };

    /// The demo model with a profile that will be written to `profile`, and what it gives; `None`, said as a skip,
    /// without ONNX Runtime.
    fn profiled(profile: &Path) -> Option<(Network, Vec<f32>)> {
        static RUNTIME: OnceLock<Option<Environment>> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| runtime::load(None).ok()).as_ref();
        let Some(environment) = runtime else {
            testkit::skip("ONNX Runtime is not here (scripts/setup)");
            return None;
        };
        let open = |profile| {
            let place = SessionOptions {
                provider: Provider::Cpu,
                threads: 1,
                profile,
            };
            Network::load(environment, Weights::Memory(DEMO), place).unwrap()
        };
        let reference = open(None).run(&pattern(NET), NET, |values, _| values.to_vec());
        Some((open(Some(profile)), reference.unwrap()))
    }

    #[test]
    fn a_trial_sees_in_the_profile_what_ran_the_model_and_in_the_numbers_whether_rightly() {
        let scratch = tempfile::tempdir().unwrap();
        let profile = scratch.path().join("trial");
        let tried = |provider, factor| {
            let (network, mut reference) = profiled(&profile)?;
            reference.iter_mut().for_each(|value| *value *= factor);
            let tried = attempt(network, provider, &reference, &pattern(NET), NET);
            Some(tried.map(|working| working.took))
        };
        let Some(right) = tried(Provider::Cpu, 1.0) else {
            return;
        };
        assert!(right.unwrap() > Duration::ZERO);
        let fallback = tried(Provider::Cuda, 1.0).unwrap().unwrap_err();
        assert!(
            matches!(
                fallback,
                Failure::Elsewhere {
                    there: 0,
                    elsewhere: 20..
                }
            ),
            "ONNX Runtime fell back without a word: {fallback:?}"
        );
        let wrong = tried(Provider::Cpu, 1.1).unwrap();
        assert_eq!(wrong.unwrap_err(), Failure::Wrong);
    }
}

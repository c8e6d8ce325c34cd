//! Loads the model where it runs best: the shell around [`super::selection`].
//!
//! The processor always loads it first. So the error of a file that is not a model names the file's fault and not a
//! provider's, and a provider is compared with numbers that are right.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ort::environment::Environment;
use protocol::geometry::Size;
use tracing::info;

use super::heads::Head;
use super::metadata::MAX_STRIDE;
use super::onnx::{self, BoxOutput, Network, NotRun, SessionOptions, Weights};
use super::provider::{Provider, TrialFailure};
use super::selection::{self, Selection, Trial};
use super::yolo::STRIDE;
use super::{input, verify};

/// A loaded model, and how it is run.
#[derive(Debug)]
pub struct LoadedModel {
    /// The model.
    pub network: Network,
    /// The provider that runs it.
    pub provider: Provider,
    /// Layout of its output.
    pub head: Head,
    /// Pictures in one run, at most.
    pub batch: usize,
    /// What the sides of its input are multiples of.
    pub stride: u16,
}

/// Loads a model with the provider that is wanted, or for `None` with the best that works.
///
/// `size` chooses the input size of the first run, with sides that are multiples of a stride.
///
/// # Errors
/// If the model or the provider that is wanted does not work: what is wrong, and the cure.
pub fn load(
    environment: &Environment,
    weights: Weights,
    wanted: Option<Provider>,
    threads: usize,
    size: impl FnMut(&Network, u16) -> anyhow::Result<Size>,
) -> anyhow::Result<LoadedModel> {
    let open = |provider, profile: Option<&Path>| {
        let options = SessionOptions {
            provider,
            threads,
            profile,
        };
        Network::load(environment, weights, options)
    };
    let mut cpu = open(Provider::Cpu, None)?;
    let first = first_run(&mut cpu, size)?;
    let (stride, net, boxes) = (first.stride, first.net, first.boxes);
    let (pixels, head, reference) = (pattern(net), boxes.head, first.values);
    let offered = onnx::offered();
    // Without another provider to compare with, the time is not used.
    let took = match wanted.is_none() && !offered.is_empty() {
        true => fastest(&mut cpu, &pixels, net)?,
        false => Duration::ZERO,
    };
    let cpu = Trial { network: cpu, took };
    let Selection {
        provider,
        mut network,
        passed_over,
    } = selection::select(wanted, &offered, cpu, |provider| {
        let scratch = tempfile::tempdir().map_err(|err| TrialFailure::Start(err.to_string()))?;
        let profile = scratch.path().join("trial");
        let network = open(provider, Some(&profile));
        let mut network = network.map_err(|err| TrialFailure::Start(format!("{err:#}")))?;
        network.read_from(boxes.clone());
        let agrees = |values: &[f32]| verify::outputs_agree(head, &reference, values);
        try_provider(network, provider, agrees, &pixels, net)
    })?;
    for (one, why) in passed_over {
        info!(provider = %one, "passed over: {why}");
    }
    let batch = batch_size(&mut network, provider, net)?;
    info!(%provider, batch, family = %head, "the model is loaded");
    Ok(LoadedModel {
        network,
        provider,
        head,
        batch,
        stride,
    })
}

/// The first run of a model.
struct FirstRun {
    stride: u16,
    net: Size,
    boxes: BoxOutput,
    values: Vec<f32>,
}

/// Runs a model for the first time. Old exports of P6 and P7 models do not tell their stride: one that does not run is tried
/// with larger ones.
fn first_run(
    network: &mut Network,
    mut size: impl FnMut(&Network, u16) -> anyhow::Result<Size>,
) -> anyhow::Result<FirstRun> {
    let known = network.metadata.stride;
    let mut run = |stride| -> anyhow::Result<FirstRun> {
        let net = size(network, stride)?;
        let (boxes, values) = network.examine(&pattern(net), net)?;
        Ok(FirstRun {
            stride,
            net,
            boxes,
            values,
        })
    };
    match run(known.unwrap_or(STRIDE)) {
        Err(err) if known.is_none() && err.is::<NotRun>() => {
            let coarser = [2 * STRIDE, MAX_STRIDE].into_iter();
            let mut runs = coarser.filter_map(|stride| run(stride).ok());
            runs.next().ok_or(err)
        }
        other => other,
    }
}

/// Runs a model under a profile, and verifies that the provider ran it, and rightly.
fn try_provider(
    mut network: Network,
    provider: Provider,
    agrees: impl FnOnce(&[f32]) -> bool,
    pixels: &[f32],
    net: Size,
) -> Result<Trial<Network>, TrialFailure> {
    let failed = |err: anyhow::Error| TrialFailure::Start(format!("{err:#}"));
    let agrees = network.run(pixels, net, agrees).map_err(failed)?;
    let profile = network.end_profile().map_err(failed)?;
    verify::check_profile(&profile, provider)?;
    if !agrees {
        return Err(TrialFailure::Wrong);
    }
    let took = fastest(&mut network, pixels, net).map_err(failed)?;
    Ok(Trial { network, took })
}

/// Returns how many pictures a run takes. The processor gains nothing by several (see the documentation of [`super`]), TensorRT would build
/// an engine for every number of them; others are measured.
fn batch_size(network: &mut Network, provider: Provider, net: Size) -> anyhow::Result<usize> {
    if matches!(provider, Provider::Cpu | Provider::Tensorrt) || !network.free_batch {
        return Ok(1);
    }
    let one = pattern(net);
    let alone = fastest(network, &one, net)?;
    let several = one.repeat(selection::BATCH_SIZE);
    let nothing = |_: &[f32]| ();
    network
        .run(&several, net, nothing)
        .context("several pictures")?;
    Ok(selection::batch_size(
        alone,
        fastest(network, &several, net)?,
    ))
}

/// Returns the time of the shortest of three runs: the others were disturbed.
fn fastest(network: &mut Network, pixels: &[f32], net: Size) -> anyhow::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        network.run(pixels, net, |_| ())?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

/// Returns a picture on which every part of a network has something to do: stripes that grow finer.
fn pattern(net: Size) -> Vec<f32> {
    let wave = |n: usize| (n * n % 251) as f32 / 250.0;
    (0..3 * input::pixels(net)).map(wave).collect()
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

    /// Returns the demo model with a profile that will be written to `profile`, and its output; `None`, reported as a
    /// skip, without ONNX Runtime.
    fn profiled(profile: &Path) -> Option<(Network, Vec<f32>)> {
        static RUNTIME: OnceLock<Option<Environment>> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| runtime::load(None).ok()).as_ref();
        let Some(environment) = runtime else {
            testkit::skip("ONNX Runtime is not here (scripts/setup)");
            return None;
        };
        let open = |profile| {
            let options = SessionOptions {
                provider: Provider::Cpu,
                threads: 1,
                profile,
            };
            Network::load(environment, Weights::Memory(DEMO), options).unwrap()
        };
        let (boxes, reference) = open(None).examine(&pattern(NET), NET).unwrap();
        let mut network = open(Some(profile));
        network.read_from(boxes);
        Some((network, reference))
    }

    #[test]
    fn a_trial_sees_in_the_profile_what_ran_the_model_and_in_the_numbers_whether_rightly() {
        let scratch = tempfile::tempdir().unwrap();
        let profile = scratch.path().join("trial");
        let tried = |provider, factor| {
            let (network, mut reference) = profiled(&profile)?;
            reference.iter_mut().for_each(|value| *value *= factor);
            let head = Head::Anchors { columns: 10 };
            let agrees = |values: &[f32]| verify::outputs_agree(head, &reference, values);
            let tried = try_provider(network, provider, agrees, &pattern(NET), NET);
            Some(tried.map(|trial| trial.took))
        };
        let Some(right) = tried(Provider::Cpu, 1.0) else {
            return;
        };
        assert!(right.unwrap() > Duration::ZERO);
        let fallback = tried(Provider::Cuda, 1.0).unwrap().unwrap_err();
        assert!(
            matches!(
                fallback,
                TrialFailure::Elsewhere {
                    there: 0,
                    elsewhere: 20..
                }
            ),
            "ONNX Runtime fell back silently: {fallback:?}"
        );
        let wrong = tried(Provider::Cpu, 1.1).unwrap();
        assert_eq!(wrong.unwrap_err(), TrialFailure::Wrong);
    }
}

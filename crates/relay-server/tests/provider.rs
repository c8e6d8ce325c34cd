//! `--provider` with this machine's ONNX Runtime: the log names the provider that runs the model, and the program ends if
//! the library does not have the named one. ONNX Runtime by itself would run on the processor in silence.

use testkit::process::Program;
use vision::detect::provider::Provider;
use vision::detect::{onnx, runtime};

/// Returns the library's providers besides the processor; skips the test and returns `None` if it is not installed.
fn offered() -> Option<Vec<Provider>> {
    let loaded = runtime::load(None);
    if loaded.is_err() {
        testkit::skip("ONNX Runtime is not installed (scripts/setup)");
    }
    loaded.ok().map(|_| onnx::offered())
}

fn relay(provider: &str) -> Program {
    Program::new(env!("CARGO_BIN_EXE_relay-server")).args([
        "--listen",
        "127.0.0.1:0",
        "--http",
        "off",
        "--model",
        "demo",
        "--provider",
        provider,
    ])
}

#[test]
fn a_provider_that_the_library_has_not_ends_the_program_with_cause_and_cure() {
    let Some(offered) = offered() else { return };
    for (provider, package) in [
        (Provider::Cuda, "onnxruntime-gpu[cuda,cudnn]"),
        (Provider::Tensorrt, "tensorrt"),
        (Provider::Openvino, "onnxruntime-openvino"),
    ] {
        if offered.contains(&provider) {
            testkit::skip(&format!("this ONNX Runtime has {provider}"));
            continue;
        }
        let finished = relay(&provider.to_string()).start().finish();
        let log = &finished.stderr;
        assert_eq!(finished.status.code(), Some(1), "{log}");
        for text in [
            &format!("--provider {provider}: "),
            "this build of ONNX Runtime is without it",
            package,
            "--onnxruntime FILE",
        ] {
            assert!(log.contains(text), "{text:?} is missing: {log}");
        }
        assert!(!log.contains("listening"), "{log}");
    }
}

#[test]
fn what_runs_the_model_is_said_before_listening() {
    let Some(offered) = offered() else { return };
    for provider in ["auto", "cpu"] {
        if provider == "auto" && !offered.is_empty() {
            testkit::skip("this ONNX Runtime has more than the processor");
            continue;
        }
        let running = relay(provider).start();
        running.listening();
        let lines = running.stderr();
        let index = |text: &str| lines.iter().position(|line| line.contains(text));
        let (provider, listening) = (index("provider=cpu"), index("listening"));
        assert!(provider.is_some() && provider < listening, "{lines:#?}");
        running.terminate();
        running.finish();
    }
}

//! Verifies that a provider ran the model, and rightly: ONNX Runtime's profile of the run, and its numbers. Pure.

use serde_json::Value;

use super::heads::{END_TO_END_COLUMNS, Head};
use super::provider::{Provider, TrialFailure};

/// Checks by the profile of a run, as ONNX Runtime writes it, that `provider` ran the model.
///
/// Small operations, such as the arithmetic of shapes, run on the processor with every provider. Convolutions are what
/// costs.
///
/// # Errors
/// If the processor ran convolutions, or the provider nothing.
pub fn check_profile(profile: &str, provider: Provider) -> Result<(), TrialFailure> {
    let events: Value = serde_json::from_str(profile).map_err(|err| {
        TrialFailure::Start(format!("the profile of its run is unreadable: {err}"))
    })?;
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
        return Err(TrialFailure::Elsewhere { there, elsewhere });
    }
    Ok(())
}

/// Whether two outputs are the same but for rounding, which differs from device to device: a broken one gives nothing,
/// noise or NaN.
pub fn outputs_agree(head: Head, reference: &[f32], other: &[f32]) -> bool {
    match head {
        // Rounding changes which of two boxes of about one score is first, so each column is compared in its own order.
        Head::EndToEnd => (0..END_TO_END_COLUMNS).all(|column| {
            let sorted = |values: &[f32]| {
                let rows = values.chunks_exact(END_TO_END_COLUMNS);
                let mut column: Vec<f32> = rows.map(|row| row[column]).collect();
                column.sort_by(f32::total_cmp);
                column
            };
            agree(&sorted(reference), &sorted(other))
        }),
        Head::Anchors { .. } | Head::AnchorFree { .. } => agree(reference, other),
    }
}

fn agree(reference: &[f32], other: &[f32]) -> bool {
    let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    let size = sum(&mut reference.iter().map(|&value| f64::from(value).abs()));
    let pairs = reference.iter().zip(other);
    let apart = sum(&mut pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()));
    reference.len() == other.len() && apart <= size / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let ran = |nodes: &[_]| check_profile(&profile(nodes), Provider::Cuda);
        assert_eq!(ran(&[(cuda, "Conv"), (cpu, "Shape")]), Ok(()));
        assert_eq!(
            ran(&[(cpu, "Conv"), (cpu, "FusedConv")]),
            Err(TrialFailure::Elsewhere {
                there: 0,
                elsewhere: 2
            })
        );
        assert_eq!(
            ran(&[(cuda, "Conv"), (cpu, "Conv")]),
            Err(TrialFailure::Elsewhere {
                there: 1,
                elsewhere: 1
            })
        );
        assert_eq!(
            ran(&[(cpu, "Shape")]),
            Err(TrialFailure::Elsewhere {
                there: 0,
                elsewhere: 0
            }),
            "nothing ran there"
        );
        let whole = profile(&[(Provider::Openvino.name(), "OpenVINO-EP-subgraph_1")]);
        assert_eq!(check_profile(&whole, Provider::Openvino), Ok(()));
        assert!(check_profile("no profile", Provider::Cuda).is_err());
        assert!(check_profile("{}", Provider::Cuda).is_err());
    }

    #[test]
    fn outputs_agree_but_for_rounding() {
        let reference = [100.0, 200.0, 0.5];
        let agree = |a: &[f32], b: &[f32]| outputs_agree(Head::Anchors { columns: 3 }, a, b);
        assert!(agree(&reference, &reference));
        assert!(agree(&reference, &[100.4, 199.6, 0.5]));
        assert!(!agree(&reference, &[100.0, 200.0]));
        assert!(!agree(&reference, &[0.0, 0.0, 0.0]));
        assert!(!agree(&reference, &[100.0, f32::NAN, 0.5]));
        assert!(!agree(&reference, &[100.0, 196.0, 0.5]));
    }

    #[test]
    fn end_to_end_rows_agree_in_any_order() {
        let agree = |a: &[f32], b: &[f32]| outputs_agree(Head::EndToEnd, a, b);
        let (one, two) = (
            [10.0, 20.0, 30.0, 40.0, 0.5, 7.0],
            [50.0, 60.0, 70.0, 80.0, 0.5, 2.0],
        );
        let reference = [one, two].concat();
        assert!(agree(&reference, &[two, one].concat()));
        assert!(!agree(&reference, &[one, one].concat()));
        assert!(!agree(&reference, &one), "a box is missing");
        let wrong_class = [10.0, 20.0, 30.0, 40.0, 0.5, 3.0];
        assert!(!agree(&reference, &[wrong_class, two].concat()));
    }
}

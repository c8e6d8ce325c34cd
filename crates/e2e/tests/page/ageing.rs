//! The page's functions for the ageing of boxes, with the cases that the Rust code is tested with too.

use serde_json::Value;

use crate::common::alone;
use crate::setup::Setup;

/// Largest difference between the results of the page and of the table.
const TOLERANCE: f64 = 1e-6;

/// The results of the page's functions for `cases`, the parsed table.
const RESULTS: &str = r"({
    life: cases.life.map(c => boxLife(c.interval)),
    opacity: cases.opacity.map(c => boxOpacity(c.age, c.life)),
    moved: cases.moved.map(c => movedBox(c.last, c.earlier, c.between, c.since)),
})";

#[test]
fn boxes_age_on_the_page_as_in_the_viewer() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let _relay = setup.relay();
    let url = setup.url();
    setup.page.open(&url);
    setup.page.wait("document.readyState === 'complete'");
    let table = include_str!("../../../protocol/tests/ageing.json");
    let cases: Value = serde_json::from_str(table).unwrap();
    let script = format!("(cases => {RESULTS})({table})");
    let results = setup.page.evaluate(&script);
    for (group, key) in [("life", "life"), ("opacity", "opacity"), ("moved", "box")] {
        let cases = cases[group].as_array().unwrap();
        let results = results[group].as_array().unwrap();
        assert!(!cases.is_empty() && cases.len() == results.len());
        for (case, result) in cases.iter().zip(results) {
            assert!(is_close(&case[key], result), "{case}: {result}");
        }
    }
}

#[test]
fn a_fading_box_has_no_score_on_the_page_either() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let _relay = setup.relay();
    let url = setup.url();
    setup.page.open(&url);
    setup.page.wait("document.readyState === 'complete'");
    for (item, opacity, caption) in [
        ("{label: 'cat', score: 0.87}", 1.0, "cat 87%"),
        ("{label: 'cat', score: 0.87}", 0.9, "cat"),
        ("{label: 'cat', score: 0.87, fading: true}", 1.0, "cat"),
    ] {
        let shown = setup
            .page
            .evaluate(&format!("boxCaption({item}, {opacity})"));
        assert_eq!(shown, caption, "{item} at {opacity}");
    }
}

/// Returns whether two numbers or boxes are equal up to [`TOLERANCE`], or both null.
fn is_close(expected: &Value, result: &Value) -> bool {
    match (expected, result) {
        (Value::Null, Value::Null) => true,
        (Value::Number(a), Value::Number(b)) => {
            let [a, b] = [a, b].map(|number| number.as_f64().unwrap());
            (a - b).abs() < TOLERANCE
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_close(a, b))
        }
        _ => false,
    }
}

//! The figures as JSON, in the form that later versions keep.

use super::form::{FORMS, ORIGINAL};
use super::inside::{self, Compiled};
use farptr_radv::{Statistics, Target};
use serde::Serialize;

/// One form of one kernel on one target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(super) target: String,
    pub(super) kernel: &'static str,
    pub(super) form: &'static str,
    #[serde(flatten)]
    pub(super) figures: Statistics,
    /// The form that the ratios refer to; it refers to itself.
    pub(super) ratio_to: &'static str,
    /// The ratios, absent where the original has none.
    pub(super) vgprs_ratio: Option<f64>,
    pub(super) sgprs_ratio: Option<f64>,
    pub(super) code_ratio: Option<f64>,
    pub(super) instructions_ratio: Option<f64>,
}

/// A target, and who compiled for it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Driver {
    pub(super) target: String,
    pub(super) device: String,
    pub(super) driver: String,
}

/// A target without a driver.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NotCompiled {
    pub(super) target: String,
    pub(super) reason: String,
}

/// Everything that a run has to say.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    pub(super) commit: String,
    pub(super) drivers: Vec<Driver>,
    pub(super) results: Vec<Row>,
    /// The targets that have no driver here, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_compiled: Vec<NotCompiled>,
}

/// The rows of a target.
pub(super) fn rows(target: Target, compiled: &Compiled) -> Vec<Row> {
    let kernels = inside::kernels().zip(&compiled.kernels);
    let rows = kernels.flat_map(|((kernel, _), forms)| {
        let original = forms[0];
        FORMS.iter().zip(forms).map(move |(form, &figures)| Row {
            target: target.to_string(),
            kernel,
            form: form.name,
            figures,
            ratio_to: ORIGINAL,
            vgprs_ratio: ratio(figures.vgprs, original.vgprs),
            sgprs_ratio: ratio(figures.sgprs, original.sgprs),
            code_ratio: ratio(figures.code_bytes, original.code_bytes),
            instructions_ratio: ratio(figures.instructions, original.instructions),
        })
    });
    rows.collect()
}

#[allow(clippy::cast_precision_loss, reason = "kernels are small")]
fn ratio(figure: u64, original: u64) -> Option<f64> {
    (original > 0).then(|| figure as f64 / original as f64)
}

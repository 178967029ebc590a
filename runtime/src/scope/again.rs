//! Launches like one before: what was decided of that one without a look at memory holds for them.

use super::{Scope, scope::OwnWords};
use crate::{
    LaunchError,
    launch::{
        checked::Request,
        control_block,
        proof::{Memory, Proof},
    },
    trace,
};
use std::sync::Arc;

impl Scope<'_, '_> {
    /// Launches a kernel's own words, if those ran for a launch like this one and no check of this
    /// one would fail, and says whether it did. If it did not, the launch is still to be looked at.
    pub(super) fn launch_again(
        &mut self,
        request: &Request<'_>,
        launch: &trace::Span,
    ) -> Result<bool, LaunchError> {
        let Some(decided) = self.decisions.find(request) else { return Ok(false) };
        if self.may_run_own_words(request.options).is_err() {
            return Ok(false);
        }
        let analysis = &request.code.facts(request.kernel)?.analysis;
        let roots = control_block::roots(analysis, request.push, &self.lends, false);
        let pipeline = decided.pipeline(control_block::any_offset(analysis, &roots));
        let Some(pipeline) = pipeline.filter(|_| control_block::are_reached(&roots)) else {
            return Ok(false);
        };
        let memory = Memory { analysis, roots: &roots, push: request.push, lends: &self.lends };
        let Ok(proof) = Proof::new(&decided.footprint, memory) else { return Ok(false) };
        let Ok(push) = proof.push(request.push) else { return Ok(false) };
        let (pipeline, most) = (&Arc::clone(pipeline), decided.most);
        launch.record("proved", true);
        self.note_written(|| control_block::reach(analysis, &roots, false, true));
        self.launch_proved(request, OwnWords { pipeline, push: &push, most }, &proof)?;
        Ok(true)
    }
}

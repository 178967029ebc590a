//! A checked launch between its recording and the reading of its log. Pure.

use super::{
    allowance::Overdue, control_block::Roots, fault::Launched, log::Log, options::LaunchOptions,
};
use crate::{LaunchError, kernel::code::Facts, lend::lends::Lends};
use std::{fmt, sync::Arc};

/// A checked launch of which the log is not yet read.
pub(crate) struct Pending {
    pub(crate) kernel: &'static str,
    pub(crate) facts: Arc<Facts>,
    pub(crate) roots: Roots,
    pub(crate) options: LaunchOptions,
}

impl Pending {
    /// The error for a log that is not clean, on a device that cuts loops after so many passes.
    ///
    /// A fault is reported before failures that it may have caused. An invocation that was stopped
    /// in a loop because the time was over looks like one that reached the limit.
    pub(crate) fn failure(
        &self,
        log: &Log,
        lends: &Lends,
        overdue: Option<Overdue>,
        cut_after: u32,
    ) -> LaunchError {
        let kernel = self.kernel;
        if let Some(record) = log.first() {
            let Facts { analysis, push_names: names } = &*self.facts;
            let launched = Launched { kernel, analysis, names, roots: &self.roots, lends };
            return LaunchError::Fault(Box::new(launched.fault(record, None)));
        }
        if log.cut > 0 {
            return LaunchError::LoopCut { kernel, limit: cut_after, invocations: log.cut };
        }
        if let Some(overdue) = overdue {
            return self.deadline(overdue);
        }
        let (limit, invocations) = (self.options.loop_limit, log.exhausted);
        LaunchError::LoopLimit { kernel, limit, invocations }
    }

    /// The error for a launch that did not complete in time, or whose batch did not.
    pub(crate) fn deadline(&self, overdue: Overdue) -> LaunchError {
        let Overdue { allowed: deadline, queued } = overdue;
        LaunchError::Deadline { kernel: self.kernel, deadline, queued }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("kernel", &self.kernel).finish_non_exhaustive()
    }
}

//! The cost of a launch besides the kernel's own work: an empty kernel, launched and waited for.
//!
//! # Safety
//!
//! Launches are unchecked; the empty kernel touches nothing.

use crate::{
    case::{Case, Context, Devices},
    failure::Failure,
    measure::Variant,
    rival::EmptyLaunch,
};
use farptr::{Error, Grid, Kernel, Runtime, shaders::empty};
use std::time::{Duration, Instant};

/// Launches in a scope of `farptr-scope100`.
const MANY: u32 = 100;

pub(super) struct Launch;

impl Case for Launch {
    fn name(&self) -> &'static str {
        "launch"
    }

    fn about(&self) -> &'static str {
        "an empty kernel, launched and waited for"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["ash", "farptr", "farptr-scope100"]
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        _size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let Devices { runtime, rival } = context.devices();
        Ok(vec![
            Box::new(Ash(EmptyLaunch::new(rival)?)),
            Box::new(Farptr::new("farptr", runtime, 1)?),
            Box::new(Farptr::new("farptr-scope100", runtime, MANY)?),
        ])
    }
}

/// Hand-written: record, submit, wait.
struct Ash(EmptyLaunch);

impl Variant for Ash {
    fn name(&self) -> &'static str {
        "ash"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let start = Instant::now();
        for _ in 0..calls {
            self.0.launch()?;
        }
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        self.0.all_completed()
    }
}

/// farptr: a scope with one launch or many.
struct Farptr<'c> {
    name: &'static str,
    runtime: &'c Runtime,
    kernel: Kernel<empty::Kernel>,
    launches_per_scope: u32,
    /// Launches asked for, and launches that the runtime counted.
    asked: u64,
    counted: u64,
}

impl<'c> Farptr<'c> {
    fn new(
        name: &'static str,
        runtime: &'c Runtime,
        launches_per_scope: u32,
    ) -> Result<Self, Failure> {
        Ok(Self {
            name,
            runtime,
            kernel: runtime.kernel::<empty::Kernel>().map_err(Error::from)?,
            launches_per_scope,
            asked: 0,
            counted: 0,
        })
    }

    #[allow(unsafe_code, reason = "an unchecked launch; the proof is at the block")]
    fn scope(&self) -> Result<(), Error> {
        self.runtime.scope(|s| {
            for _ in 0..self.launches_per_scope {
                // SAFETY: 1. to 4. the kernel has no arguments, touches no memory and ends at
                // once; 5. its words are the shipped ones.
                unsafe { s.launch_unchecked(&self.kernel, Grid::groups(1, 1, 1), ()) }?;
            }
            Ok(())
        })
    }
}

impl Variant for Farptr<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let before = self.runtime.stats();
        let start = Instant::now();
        for _ in 0..calls {
            self.scope()?;
        }
        let elapsed = start.elapsed();
        self.counted += self.runtime.stats().since(&before).launches;
        self.asked += u64::from(calls) * u64::from(self.launches_per_scope);
        Ok(elapsed)
    }

    fn operations_per_call(&self) -> u32 {
        self.launches_per_scope
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.asked > 0 && self.counted == self.asked)
    }
}

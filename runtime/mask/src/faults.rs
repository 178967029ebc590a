//! Calls that fail on purpose.

use ash::vk;
use std::str::FromStr;

/// A kind of call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `vkAllocateMemory` without an import.
    Allocation,
    /// `vkAllocateMemory` that imports host memory.
    Import,
    /// `vkQueueSubmit`.
    Submit,
    /// A call that waits for the device.
    Wait,
    /// A call that asks how far the device has come.
    Query,
}

/// The names of failures: what fails, and with which result.
const KINDS: [(&str, Call, vk::Result); 8] = [
    ("allocation", Call::Allocation, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY),
    ("import", Call::Import, vk::Result::ERROR_INVALID_EXTERNAL_HANDLE),
    ("submit", Call::Submit, vk::Result::ERROR_OUT_OF_HOST_MEMORY),
    ("submit-lost", Call::Submit, vk::Result::ERROR_DEVICE_LOST),
    ("wait", Call::Wait, vk::Result::ERROR_OUT_OF_HOST_MEMORY),
    ("wait-lost", Call::Wait, vk::Result::ERROR_DEVICE_LOST),
    ("query", Call::Query, vk::Result::ERROR_OUT_OF_HOST_MEMORY),
    ("query-lost", Call::Query, vk::Result::ERROR_DEVICE_LOST),
];

/// The n-th call of a kind fails, counted from 1 for each device; or it and all after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    call: Call,
    result: vk::Result,
    nth: u64,
    onwards: bool,
}

impl Fault {
    /// The result of the n-th call, if it is to fail.
    pub(crate) fn strikes(&self, call: Call, nth: u64) -> Option<vk::Result> {
        let hit = nth == self.nth || self.onwards && nth > self.nth;
        (call == self.call && hit).then_some(self.result)
    }
}

/// `KIND:n`, or `KIND:n+`.
impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || KINDS.map(|(name, ..)| name).join(", ");
        let (kind, nth) = text.split_once(':').ok_or("it has the form KIND:n or KIND:n+")?;
        let (nth, onwards) = nth.strip_suffix('+').map_or((nth, false), |nth| (nth, true));
        let found = KINDS.iter().find(|(name, ..)| *name == kind);
        let &(_, call, result) = found.ok_or_else(|| format!("its kinds are {}", names()))?;
        let nth = nth.parse().ok().filter(|&nth| nth > 0).ok_or("calls are counted from 1")?;
        Ok(Self { call, result, nth, onwards })
    }
}

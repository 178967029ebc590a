//! Devices that pass their calls on to another device.
//!
//! # Safety
//!
//! The device inside keeps the promises of the trait.

/// Implements `DeviceMemory` for a type by passing all calls on to a field, also `as_host` if the
/// macro's argument names it. A method may follow, after a semicolon: it is called with the name of
/// each call that can fail, before that call, and its error makes the call fail. After the method,
/// a literal may say whether the device is self-contained.
#[allow(unused_macros, reason = "each test binary uses a part")]
macro_rules! forward {
    (
        $device:ty, $field:tt $(, $as_host:ident)?
        $(; $before:ident $(, $is_self_contained:literal)?)?
    ) => {
        #[allow(unsafe_code)]
        #[allow(unused_imports, reason = "`as_host` is not in all")]
        const _: () = {
            use farptr_hmm::{
                DeviceError, DeviceMemory, HostDevice, MirrorCall, Owner, PageNumber, PageSize,
                VaRange,
            };
            type Done = Result<(), DeviceError>;

            // SAFETY: 1. 2. and 3. The device inside does it all.
            unsafe impl DeviceMemory for $device {
                fn owner(&self) -> Owner {
                    self.$field.owner()
                }

                fn alloc(
                    &self,
                    call: &MirrorCall,
                    host: VaRange,
                    size: PageSize,
                ) -> Result<PageNumber, DeviceError> {
                    $(self.$before("alloc")?;)?
                    self.$field.alloc(call, host, size)
                }

                fn free(&self, call: &MirrorCall, first: PageNumber, host: VaRange) {
                    self.$field.free(call, first, host);
                }

                fn copy_in(
                    &self,
                    call: &MirrorCall,
                    first: PageNumber,
                    host: VaRange,
                    bytes: &[u8],
                ) -> Done {
                    $(self.$before("copy_in")?;)?
                    self.$field.copy_in(call, first, host, bytes)
                }

                fn copy_out(
                    &self,
                    call: &MirrorCall,
                    first: PageNumber,
                    host: VaRange,
                    to: &mut [u8],
                ) -> Done {
                    $(self.$before("copy_out")?;)?
                    self.$field.copy_out(call, first, host, to)
                }

                fn zero(&self, call: &MirrorCall, first: PageNumber, host: VaRange) -> Done {
                    $(self.$before("zero")?;)?
                    self.$field.zero(call, first, host)
                }

                fn is_self_contained(&self) -> bool {
                    let answer = self.$field.is_self_contained();
                    $($(let answer = answer && $is_self_contained;)?)?
                    answer
                }

                $(fn $as_host(&self) -> Option<&HostDevice> {
                    self.$field.$as_host()
                })?
            }
        };
    };
}

#[allow(unused_imports, reason = "each test binary uses a part")]
pub(crate) use forward;

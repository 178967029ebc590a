//! A value of another type than its constant, and one for a constant that is not there.

farptr::kernel! {
    mod kernel,
    source: r#"
        #version 460
        layout(local_size_x_id = 0) in;
        layout(constant_id = 1) const float FACTOR = 2.0;
        void main() {}
    "#,
}

farptr::kernel! {
    mod plain,
    source: "#version 460\nlayout(local_size_x = 8) in; void main() {}",
}

fn main() -> Result<(), farptr::Error> {
    let runtime = farptr::Runtime::builder().build()?;
    let constants = kernel::Constants { factor: 2u32, ..Default::default() };
    runtime.specialized::<kernel::Kernel>(constants)?;
    let constants = kernel::Constants { factors: 2.0, ..Default::default() };
    runtime.specialized::<kernel::Kernel>(constants)?;
    runtime.specialized::<plain::Kernel>(())?;
    Ok(())
}

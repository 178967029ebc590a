//! From GLSL to words.

use crate::place;
use shaderc::{
    CompileOptions, Compiler, EnvVersion, IncludeType, ResolvedInclude, ShaderKind, SpirvVersion,
    TargetEnv,
};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use syn::LitStr;

/// GLSL, and what it is compiled with.
pub(crate) struct Glsl<'i> {
    pub(crate) text: &'i str,
    /// The file's name in messages and in the words.
    pub(crate) name: &'i str,
    /// The folder of the file, for what it includes.
    pub(crate) folder: Option<&'i Path>,
    pub(crate) include: &'i [LitStr],
    pub(crate) define: &'i [(LitStr, LitStr)],
}

/// The words, and the files that the GLSL includes; or the compiler's complaints.
pub(crate) fn compile(glsl: &Glsl<'_>) -> Result<(Vec<u32>, Vec<PathBuf>), String> {
    // It stays: the built-in functions of GLSL, which take long to read, go with the last compiler.
    static COMPILER: OnceLock<Option<Compiler>> = OnceLock::new();
    let compiler = COMPILER.get_or_init(Compiler::new).as_ref().ok_or("shaderc does not start")?;
    let included = RefCell::new(Vec::new());
    let mut options = CompileOptions::new().ok_or("shaderc does not start")?;
    options.set_target_env(TargetEnv::Vulkan, EnvVersion::Vulkan1_2 as u32);
    options.set_target_spirv(SpirvVersion::V1_5);
    // Faults then name the line.
    options.set_generate_debug_info();
    for (name, value) in glsl.define {
        options.add_macro_definition(&name.value(), Some(&value.value()));
    }
    options.set_include_callback(|wanted, kind, from, _| {
        let (file, content) = include(glsl, wanted, kind, from)?;
        let resolved_name = file.display().to_string();
        included.borrow_mut().push(file);
        Ok(ResolvedInclude { resolved_name, content })
    });
    let (kind, entry) = (ShaderKind::Compute, "main");
    let compiled = compiler.compile_into_spirv(glsl.text, kind, glsl.name, entry, Some(&options));
    drop(options);
    match compiled {
        Ok(artifact) => Ok((artifact.as_binary().to_vec(), included.into_inner())),
        Err(shaderc::Error::CompilationError(_, text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

/// Finds an included file: beside the file that includes it, or in the user's folders.
fn include(
    glsl: &Glsl<'_>,
    wanted: &str,
    kind: IncludeType,
    from: &str,
) -> Result<(PathBuf, String), String> {
    let beside = match kind {
        IncludeType::Standard => None,
        IncludeType::Relative if from == glsl.name => glsl.folder.map(Path::to_owned),
        IncludeType::Relative => Path::new(from).parent().map(Path::to_owned),
    };
    let folders = beside.into_iter().chain(glsl.include.iter().map(place::resolve));
    let mut files = folders.map(|folder| folder.join(wanted));
    let file = files.find(|file| file.is_file());
    let file = file.ok_or("there is no such file; `include` names folders")?;
    let content = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    Ok((file, content))
}

//! Patterns of acquisition programs, and the user's own from a small file.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{Pattern, TileOrder};
use crate::error::{Error, Result};

/// A named pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preset {
    /// What `--preset` takes.
    pub name: String,
    /// The program or microscope that writes such names.
    pub program: String,
    /// The pattern, or the regular expression.
    pub pattern: String,
    /// Whether `pattern` is a regular expression.
    pub regex: bool,
    /// The order of running tile numbers, as `--layout` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// A name that it reads.
    pub example: String,
}

impl Preset {
    /// The pattern, ready to match.
    ///
    /// # Errors
    /// `Usage` if it has a mistake.
    pub fn pattern(&self) -> Result<Pattern> {
        if self.regex { Pattern::regex(&self.pattern) } else { Pattern::parse(&self.pattern) }
    }

    /// The order of its tiles.
    ///
    /// # Errors
    /// `Usage` if it has a mistake.
    pub fn layout(&self) -> Result<Option<TileOrder>> {
        self.layout.as_deref().map(TileOrder::parse).transpose()
    }
}

/// Name, program, pattern and an example of the built-in presets. Where several read a name, the one that
/// demands more stands first.
const BUILT_IN: [[&str; 4]; 39] = [
    [
        "lattice",
        "lattice light-sheet (Janelia and AIC), with tiles, iterations and parts",
        "^*<Iter_{iter:4}_{sub:4}_>Cam{c.camera:[A-Z]}_ch{c.channel}_CAM{_}_stack{t.stack}_{c@nm}nm_{t@ms}msec_{_}msecAbs_{x}x_{y}y_{z.tile}z_{t.time}t<_part{z.part}>.tif$",
        "ex6-2_CamA_ch1_CAM1_stack0003_560nm_0131245msec_0001423040msecAbs_000x_000y_000z_0000t.tif",
    ],
    [
        "lattice-2014",
        "lattice light-sheet, before tiles",
        "_ch{c}_stack{t}_{c@nm}nm_{t@ms}msec_{_}msecAbs<_part{z}>.tif$",
        "488_300mW_642_350mW_ch0_stack0001_488nm_0008450msec_0013830583msecAbs.tif",
    ],
    [
        "micro-manager",
        "Micro-Manager 2, separate images in a folder for each position",
        "/img_channel{c}_position{p}_time{t:9}_z{z:3}.tif$",
        "Pos0/img_channel000_position000_time000000000_z000.tif",
    ],
    [
        "micro-manager-1-grid",
        "Micro-Manager 1.4, separate images of a grid of positions",
        "Pos_{x:3}_{y:3}/img_{t:9}_{c:[^_/]+}_{z:3}.tif$",
        "1-Pos_001_000/img_000000000_DAPI_000.tif",
    ],
    [
        "micro-manager-1",
        "Micro-Manager 1.4, separate images",
        "/<Pos{p}/>img_{t:9}_{c:[^_/]+}_{z:3}.tif$",
        "Pos0/img_000000000_DAPI_000.tif",
    ],
    [
        "micro-manager-ome",
        "Micro-Manager, OME-TIFF stacks split at 4 GB",
        "_MMStack_Pos{p}<_{z}>.ome.tif$",
        "x_MMStack_Pos0_1.ome.tif",
    ],
    [
        "phenix",
        "Opera Phenix, Operetta (Harmony 5)",
        "/r{row:2}c{column:2}f{field}p{z}-ch{c}sk{t}fk{state}fl{flim}.tif",
        "r01c01f01p01-ch1sk1fk1fl1.tiff",
    ],
    [
        "phenix-aivia",
        "Opera Phenix, renamed for Aivia",
        "/r{row:2}c{column:2}f{field}p{z}-ch{c}t{t}.tif",
        "r01c01f01p01-ch01t01.tiff",
    ],
    [
        "imagexpress",
        "ImageXpress, time points and planes in folders",
        "TimePoint_{t}/ZStep_{z}/*_{well:well}<_s{site}><_w{c}>{_:guid}.tif$",
        "TimePoint_1/ZStep_2/1well-3C-2S-Zmix-T_C07_s1_w1D5F8F51A-3E85-4D8C-9A4B-0F2A5D3C7E8F.tif",
    ],
    [
        "imagexpress-time",
        "ImageXpress, time points in folders",
        "TimePoint_{t}/*_{well:well}<_s{site}><_w{c}>{_:guid}.tif$",
        "TimePoint_1/plate_C07_s1_w11D5F8F5A-3E85-4D8C-9A4B-0F2A5D3C7E8F.tif",
    ],
    [
        "imagexpress-flat",
        "ImageXpress, one folder",
        "^*_{well:well}<_s{site}><_w{c}>{_:guid}.tif$",
        "ADSAStaphInfection2_A01_w2247376DD-6ADD-4C11-8A3B-1F2D3C4B5A69.tif",
    ],
    [
        "metamorph",
        "MetaMorph multi-dimensional acquisition",
        "^*_w{c.number:1}{c.name:[^_]+}<_s{stage}><_t{t}>.{_:letters}$",
        "name_w1DAPI_s1_t1.TIF",
    ],
    [
        "cv8000",
        "Yokogawa CV7000, CV8000",
        "^*_{well:well}_T{t:4}F{field:3}L{timeline:2}A{_action:2}Z{z:2}C{c:2}.tif$",
        "plate_D08_T0001F001L01A01Z01C01.tif",
    ],
    ["cellvoyager", "Yokogawa CellVoyager", "^W{well}F{field:3}T{t:4}Z{z:2}C{c}.tif$", "W1F001T0001Z01C1.tif"],
    [
        "scanr",
        "Olympus ScanR",
        "^<{_well:well}>--W{well:5}--P{p:5}--Z{z:5}--T{t:5}--{c:text}.tif$",
        "B2--W00014--P00001--Z00000--T00000--405 nm #1.tif",
    ],
    [
        "incell",
        "GE InCell",
        "^{row:[A-P]} - {column}(fld {field} wv {c:text}).tif$",
        "B - 02(fld 01 wv DAPI - DAPI).tif",
    ],
    [
        "arrayscan",
        "Cellomics ArrayScan",
        "_{run:12}_{row:[A-P]}{column:2}f{field:2}d{c}.",
        "AS_09125_050116030001_D03f00d0.tif",
    ],
    [
        "arrayscan-o",
        "Cellomics ArrayScan, older",
        "_{run:12}_{row:[A-P]}{column:2}f{field:2}o{c}.",
        "AS_09125_050116030001_D03f00o1.tif",
    ],
    [
        "cytation-z",
        "BioTek Cytation, z-stack",
        "^{well:well}_{field}Z{z}_{c:[^_]+}_{_}_{t:3}_.tif$",
        "A1_1Z4_DAPI_1_003_.tif",
    ],
    ["cytation", "BioTek Cytation", "^{well:well}_{_}_{field}_{z}_{c:[^_]+}_{t:3}.tif$", "P24_01_1_9_DAPI_002.tif"],
    [
        "cytation-stitched",
        "BioTek Cytation, processed",
        "^{well:well}_{z:int}_{field}_{_}_{c:[^_]+}_{t:3}.tif$",
        "A1_-2_1_1_Tsf[Stitched[Channel1 300,400]]_001.tif",
    ],
    [
        "nikon-jobs",
        "Nikon NIS-Elements JOBS",
        "^Plate{plate}_Well{well:well}_Channel{_c:text}_Seq{_}.",
        "Plate000_WellB02_ChannelDAPI,CY5,CY3_Seq0000.nd2",
    ],
    ["nis-elements", "Nikon NIS-Elements export", "_t{t}<xy{p}><z{z}>c{c}.tif$", "260430_t001xy01c1.tif"],
    [
        "codex",
        "CODEX on a Keyence BZ-X",
        "cyc{cycle}_reg{region}/{_:1}_{tile:5}_Z{z:3}_CH{c:1}.tif$",
        "cyc001_reg001/1_00001_Z001_CH1.tif",
    ],
    ["keyence", "Keyence BZ-X", "_XY{p}_{tile:5}<_T{t}><_Z{z:3}>_CH{c:1}.tif$", "Image_XY01_00557_Z001_CH4.tif"],
    [
        "ultramicroscope",
        "LaVision BioTec, Miltenyi UltraMicroscope",
        "[{x:2} x {y:2}]_C{c:2}_xyz-Table Z{z:4}.ome.tif$",
        "11-14-17_name_Blaze[00 x 00]_C00_xyz-Table Z0000.ome.tif",
    ],
    [
        "prairie-t",
        "Bruker Prairie View, time series",
        "^TSeries*_Cycle{cycle:5}_Ch{c}_{t:6}.ome.tif$",
        "TSeries-01012020-0001_Cycle00001_Ch1_000001.ome.tif",
    ],
    [
        "prairie-z",
        "Bruker Prairie View, z-stacks",
        "^ZSeries*_Cycle{t:5}_Ch{c}_{z:6}.ome.tif$",
        "ZSeries-01012020-0001_Cycle00001_Ch1_000001.ome.tif",
    ],
    [
        "mesospim",
        "mesoSPIM",
        "_Mag{_mag:float}x_Tile{tile}_Ch{c@nm}_Sh{shutter}_Rot{angle@deg}.",
        "name_Mag1.25x_Tile0_Ch488_Sh0_Rot0.tiff",
    ],
    [
        "simview",
        "SiMView, IsoView",
        "SPC{specimen}_TM{t}_ANG{angle@deg}_CM{camera}_CHN{c}_PH{phase}.",
        "SPC00_TM00000_ANG000_CM0_CHN00_PH0.stack",
    ],
    [
        "terastitcher",
        "TeraStitcher, Vaa3D tiles (folders are positions in 0.1 um)",
        "/{y@0.1um}/{y@0.1um}_{x@0.1um}/{y@0.1um}_{x@0.1um}_{z@0.1um}.tif$",
        "RES(1x1x1)/000000/000000_000000/000000_000000_000000.tif",
    ],
    ["fluoview", "Olympus FluoView", "_C{c:3}Z{z:3}T{t:3}.tif$", "s_C001Z001T001.tif"],
    ["zen", "ZEISS ZEN image export", "_Scene-{scene}_c{c}_ORG.tif$", "2018_Scene-002_c1_ORG.tif"],
    ["zen-time", "ZEISS ZEN image export, time series", "_t{t}c{c}_ORG.tif$", "20181113_HCC_d0-2_t42c1_ORG.tif"],
    ["imagej", "ImageJ, hyperstack saved as a sequence", "_t{t}_z{z}_c{c}.tif$", "name_t001_z001_c001.tif"],
    ["leica", "Leica LAS X export", "_t{t}_z{z}_ch{c}.tif$", "Embryo01_t00_z00_ch00.tif"],
    ["incucyte", "Sartorius Incucyte", "VID{vessel}_{well:well}_{image}_{t:duration}.", "VID1607_C1_2_00d03h00m.tif"],
    [
        "array-tomography",
        "SEM array tomography",
        "Tile_{x:3}-{y:3}-{z:6}_{detector}-{_:3}.s{_:4}_e{energy:2}.tif$",
        "Tile_001-001-000018_0-000.s0019_e01.tif",
    ],
    [
        "spim",
        "SPIM files as SPIM Registration reads them",
        "spim_TL{t}_Angle{angle@deg}<_Ch{c}>.",
        "spim_TL1_Angle45_Ch0.tif",
    ],
];

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let preset = |[name, program, pattern, example]: [&str; 4]| Preset {
        name: name.to_owned(),
        program: program.to_owned(),
        pattern: pattern.to_owned(),
        regex: false,
        layout: None,
        example: example.to_owned(),
    };
    BUILT_IN.map(preset).into()
});

/// The built-in presets.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// What a user's file holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    preset: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    pattern: Option<String>,
    regex: Option<String>,
    about: Option<String>,
    layout: Option<String>,
    example: Option<String>,
}

/// Reads a user's presets from the text of a TOML file:
///
/// ```toml
/// [preset.our-spim]
/// pattern = '_ch{c}_t{t}_z{z}.tif'     # or regex = '...'
/// about = 'the SPIM in the basement'   # the rest is optional
/// example = 'a_ch0_t001_z012.tif'      # must match
/// layout = 'tile=x:4,y:3,snake'
/// ```
///
/// # Errors
/// `Usage`, naming the preset or the line, if the text is not such a file, a pattern has a mistake, or an
/// example does not match its pattern.
pub fn user_presets(text: &str) -> Result<Vec<Preset>> {
    let file: File = toml::from_str(text).map_err(|e| Error::usage(e.to_string().trim_end()))?;
    let mut found = Vec::new();
    for (name, entry) in file.preset {
        let place = format!("preset '{name}'");
        let (pattern, regex) = match (entry.pattern, entry.regex) {
            (Some(pattern), None) => (pattern, false),
            (None, Some(regex)) => (regex, true),
            _ => return Err(Error::usage("give either a pattern or a regex").at(place)),
        };
        let preset = Preset {
            name,
            program: entry.about.unwrap_or_default(),
            pattern,
            regex,
            layout: entry.layout,
            example: entry.example.unwrap_or_default(),
        };
        let parsed = preset.pattern().map_err(|e| e.at(&place))?;
        preset.layout().map_err(|e| e.at(&place))?;
        if !preset.example.is_empty() && parsed.matches(&preset.example).is_none() {
            return Err(Error::usage(format!("the example '{}' does not match '{parsed}'", preset.example)).at(place));
        }
        found.push(preset);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_reads_its_example() {
        let mut names: Vec<&str> = Vec::new();
        for preset in presets() {
            let pattern = preset.pattern().unwrap_or_else(|e| panic!("{}: {e}", preset.name));
            assert!(pattern.matches(&preset.example).is_some(), "{}: {} on {}", preset.name, pattern, preset.example);
            assert!(!names.contains(&preset.name.as_str()), "{} twice", preset.name);
            names.push(&preset.name);
        }
    }

    #[test]
    fn users_keep_their_own() {
        let text = "[preset.ours]\npattern = '_ch{c}_t{t}.tif'\nabout = 'basement'\nexample = 'a_ch0_t1.tif'\n";
        let found = user_presets(text).unwrap();
        assert_eq!((found[0].name.as_str(), found[0].program.as_str()), ("ours", "basement"));
        for (text, says) in [
            ("[preset.a]\npattern = '_{c'\n", "preset 'a': pattern column 2"),
            ("[preset.a]\nabout = 'x'\n", "either a pattern or a regex"),
            ("[preset.a]\npattern = '{t}'\nexample = 'x'\n", "does not match"),
            ("[preset.a]\npattern = '{t}'\nlayuot = 'x'\n", "layuot"),
            ("[preset.a]\npattern = '{t}'\nlayout = 'x'\n", "layout 'x'"),
            ("preset = 3", "line 1"),
        ] {
            let message = user_presets(text).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
        assert!(user_presets("").unwrap().is_empty());
    }
}

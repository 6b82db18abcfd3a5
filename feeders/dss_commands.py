"""The words of OpenDSS's language, by what they can do."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


RUN = _words(
    """new edit more m ~ select batchedit solve enable disable set open close reset clear clearall
    calcvoltagebases setkvbase buildy init allocateloads makebuslist reprocessbuses interpolate
    makeposseq reduce buscoords latlongcoords giscoords setbusxy setloadandgenkv updatestorage var
    cleanup finishtimestep _initsnap _solvenocontrol _samplecontrols _docontrolactions
    _solvedirect _solvepflow"""
)
"""Commands that define, change or solve the circuit, in memory only."""

SKIP = _words(
    """save show plot dump help quit ? next panel sample about get export fileedit voltages
    currents powers seqvoltages seqcurrents seqpowers losses phaselosses cktlosses formedit totals
    capacity classes userclasses zsc zsc10 zscrefresh ysc puvoltages varvalues varnames alignfile
    top rotate vdiff summary distribute di_plot comparecases yearlycurves cd visualize closedi
    _showcontrolqueue addbusmarker clearbusmarkers uuids cvrtloadshapes nodediff rephase pstcalc
    variable relcalc nodelist connect disconnect calcincmatrix calcincmatrix_o refine_buslevels
    calclaplacian exportoverloads exportvviolations zsc012 allpceatbus allpdeatbus totalpowers
    comhelp //"""
)
"""Commands that a circuit does without: they ask, report, draw or write."""

READS = ("buscoords", "latlongcoords", "giscoords")
"""Commands that read the one file they name."""

REDIRECTS = {"redirect": False, "compile": True}
"""Commands that run a file; whether its folder stays the present one."""

OPTIONS = _words(
    """type element hour sec year frequency stepsize mode random number time class object
    tolerance maxiterations h loadmodel loadmult normvminpu normvmaxpu emergvminpu emergvmaxpu
    %mean %stddev ldcurve %growth genkw genpf capkvar addtype allowduplicates zonelock ueweight
    lossweight ueregs lossregs voltagebases algorithm trapezoidal autobuslist controlmode genmult
    defaultdaily defaultyearly allocationfactors cktmodel pricesignal pricecurve terminal
    basefrequency harmonics maxcontroliter bus keeplist reduceoption %normal cfactors
    numallociterations defaultbasefrequency loadshapeclass earthmodel neglectloady
    sampleenergymeters miniterations keepload zmag seasonrating seasonsignal linetypes
    longlinecorrection"""
)
"""Options of `Set` and `Solve` that say how the circuit is."""

MODES = r"[b-gi-z]"
"""How the value of the option `mode` begins. AutoAdd writes a file, harmonics another."""

LOADS_CODE = ("usermodel", "userdata", "shaftmodel", "shaftdata", "dynadll", "dynadata")
"""Properties that load a library, or are handed to one."""

WRITES = {"debugtrace": tuple("nf0"), "action": tuple("nocrluta")}
"""Properties that can write a file, and how the values begin that do not."""

FREE_PLACES = {
    **dict.fromkeys(("generator", "pvsystem", "storage", "windgen", "indmach012"), 9),
    **dict.fromkeys(("loadshape", "tshape", "priceshape"), 9),
    **dict.fromkeys(("regcontrol", "capcontrol", "relay", "recloser", "fuse"), 2),
    **dict.fromkeys(("swtcontrol", "monitor", "energymeter"), 2),
}
"""Classes with such a property, and how many of their first properties are none."""

DEFINES = _words("new edit select batchedit")
"""Commands that begin with an object's name."""

CONTINUES = _words("more m ~")
"""Commands that go on with the object before."""

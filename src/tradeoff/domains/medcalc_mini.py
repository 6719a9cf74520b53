"""MedCalc-mini: medical calculation with worked steps, in the manner of MedCalc-Bench.

Source: MedCalc-Bench (Khandekar et al. 2024, arXiv 2406.12036), through the calculators of the package `medcalc-bench`.
The notes are generated: a patient, the inputs of one calculator and one or two facts that do not matter. The response
is the package's own working, shortened to the steps that compute something and the conclusion (definitions of the
formula, criteria lists and criteria that leave a score as it is are left out), and a last line `Answer: <value>`.

A question belongs to the test split when a hash of its calculator and inputs says so (one in four), whatever the note.

Inputs keep to ranges in which the package is right. Known there and kept out: a cycle under 28 days moves the due date
the wrong way, and over 20 kg the worked maintenance fluid shows another coefficient than it uses.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medcalc.anion_gap import compute_anion_gap_explanation
from medcalc.bmi_calculator import bmi_calculator_explanation
from medcalc.bsa_calculator import bsa_calculator_explaination
from medcalc.calcium_correction import calculate_corrected_calcium_explanation
from medcalc.cha2ds2_vasc_score import generate_cha2ds2_vasc_explanation
from medcalc.compute_fena import compute_fena_explanation
from medcalc.conception_date import add_2_weeks_explanation
from medcalc.curb_65 import curb_65_explanation
from medcalc.estimated_due_date import add_40_weeks_explanation
from medcalc.has_bled_score import compute_has_bled_score_explanation
from medcalc.homa_ir import compute_homa_ir_explanation
from medcalc.ldl_calculated import compute_ldl_explanation
from medcalc.maintenance_fluid_calc import maintenance_fluid_explanation
from medcalc.mean_arterial_pressure import mean_arterial_pressure_explanation
from medcalc.qt_calculator_rautaharju import rautaharju_calculator_explanation
from medcalc.sch import compute_sodium_correction_hyperglycemia_explanation

from tradeoff.domains import Domain, Example, Metric, Outcome, Split
from tradeoff.domains._medcalc_rules import Kind, is_right, limits, read_answer


class MedCalcMini(Domain):
    """Worked medical calculation on generated notes, scored by MedCalc-Bench's rules."""

    name = "medcalc_mini"
    version = "1.0"
    metrics = (Metric("accuracy"),)
    max_new_tokens = 144

    def examples(self, split: Split, count: int, seed: int) -> list[Example]:
        """See `Domain.examples`. The calculators take turns, so a small draw covers all of them evenly."""
        seen: set[str] = set()
        return [_example(split, index, seed, seen) for index in range(count)]

    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """See `Domain.score`. Needs the keys `kind`, `lower` and `upper` of `answer`."""
        found = read_answer(response, answer["kind"])
        if found is None:
            return Outcome({"accuracy": 0.0}, invalid=True)
        return Outcome({"accuracy": float(is_right(found, answer["kind"], answer["lower"], answer["upper"]))})


@dataclass(frozen=True)
class _Quantity:
    """A measured value, in the note as "sodium 140 mEq/L", for the package as (140, "mEq/L")."""

    key: str
    label: str
    low: float
    high: float
    unit: str
    decimals: int = 0

    def draw(self, rng: random.Random) -> tuple[float, str]:
        scale = 10**self.decimals
        steps = rng.randint(round(self.low * scale), round(self.high * scale))
        return (steps / scale if self.decimals else steps), self.unit

    def tell(self, value: tuple[float, str]) -> str:
        return f"{self.label} {value[0]} {value[1]}"


@dataclass(frozen=True)
class _Count:
    """A whole number, in the note as the label tells, for the package without a unit."""

    key: str
    label: str
    low: int
    high: int

    def draw(self, rng: random.Random) -> int:
        return rng.randint(self.low, self.high)

    def tell(self, value: int) -> str:
        return self.label.format(value)


@dataclass(frozen=True)
class _Finding:
    """Something present or absent."""

    key: str
    label: str

    def draw(self, rng: random.Random) -> bool:
        return rng.random() < 0.35

    def tell(self, value: bool) -> str:
        return self.label if value else f"no {self.label}"


@dataclass(frozen=True)
class _Choice:
    """One of several findings, in the package's words."""

    key: str
    options: tuple[str, ...]

    def draw(self, rng: random.Random) -> str:
        return rng.choice(self.options)

    def tell(self, value: str) -> str:
        return value


@dataclass(frozen=True)
class _Date:
    """A day of the years 2015 to 2024, MM/DD/YYYY."""

    key: str
    label: str

    def draw(self, rng: random.Random) -> str:
        day = datetime.date(2015, 1, 1) + datetime.timedelta(days=rng.randrange(3653))
        return day.strftime("%m/%d/%Y")

    def tell(self, value: str) -> str:
        return f"{self.label} {value}"


_Input = _Quantity | _Count | _Finding | _Choice | _Date


@dataclass(frozen=True)
class _Calculator:
    """One calculator of the package.

    Attributes:
        name: For the reports; also the identity of its questions.
        explain: The package's function, inputs to {"Explanation", "Answer"}.
        asks: What is asked for, with its unit.
        kind: How the answer is scored.
        inputs: What the note tells.
        patient: Which of "age" and "sex" the calculator uses besides; the others do not matter to the answer.
        ages: Youngest and oldest patient.
        sexes: Of these patients.
    """

    name: str
    explain: Callable[[dict[str, Any]], dict[str, Any]]
    asks: str
    kind: Kind
    inputs: tuple[_Input, ...]
    patient: tuple[str, ...] = ()
    ages: tuple[int, int] = (18, 89)
    sexes: tuple[str, ...] = ("Female", "Male")


_SODIUM = _Quantity("sodium", "sodium", 128, 152, "mEq/L")
_SODIUM_FOR_GAP = _Quantity("sodium", "sodium", 136, 152, "mEq/L")  # The gap stays above zero.
_CHLORIDE = _Quantity("chloride", "chloride", 92, 102, "mEq/L")
_CREATININE = _Quantity("creatinine", "creatinine", 0.5, 4.0, "mg/dL", 1)
_GLUCOSE = _Quantity("glucose", "glucose", 70, 300, "mg/dL")
_SYSTOLIC = _Quantity("sys_bp", "systolic BP", 85, 180, "mm Hg")
_DIASTOLIC = _Quantity("dia_bp", "diastolic BP", 45, 84, "mm Hg")
_WEIGHT = _Quantity("weight", "weight", 45, 120, "kg")
_HEIGHT = _Quantity("height", "height", 145, 200, "cm")
_HEART_RATE = _Quantity("heart_rate", "heart rate", 50, 130, "bpm")
_QT = _Quantity("qt_interval", "QT interval", 300, 480, "msec")
_LMP = _Date("menstrual_date", "last menstrual period")
_HYPERTENSION = _Finding("hypertension", "hypertension")
_STROKE = _Finding("stroke", "prior stroke")

_CALCULATORS = (
    _Calculator(
        name="Anion gap",
        explain=compute_anion_gap_explanation,
        asks="anion gap in mEq/L",
        kind="decimal",
        inputs=(
            _SODIUM_FOR_GAP,
            _CHLORIDE,
            _Quantity("bicarbonate", "bicarbonate", 12, 26, "mEq/L"),
        ),
    ),
    _Calculator(
        name="Body mass index",
        explain=bmi_calculator_explanation,
        asks="BMI in kg/m^2",
        kind="decimal",
        inputs=(_WEIGHT, _HEIGHT),
    ),
    _Calculator(
        name="CURB-65",
        explain=curb_65_explanation,
        asks="CURB-65 score",
        kind="integer",
        inputs=(
            _Finding("confusion", "confusion"),
            _Quantity("bun", "BUN", 8, 30, "mg/dL"),
            _Quantity("respiratory_rate", "respiratory rate", 14, 36, "breaths/min"),
            _SYSTOLIC,
            _DIASTOLIC,
        ),
        patient=("age",),
    ),
    _Calculator(
        name="Body surface area",
        explain=bsa_calculator_explaination,
        asks="body surface area in m^2",
        kind="decimal",
        inputs=(_WEIGHT, _HEIGHT),
    ),
    _Calculator(
        name="Corrected calcium",
        explain=calculate_corrected_calcium_explanation,
        asks="albumin-corrected calcium in mg/dL",
        kind="decimal",
        inputs=(
            _Quantity("albumin", "albumin", 1.5, 3.9, "g/dL", 1),
            _Quantity("calcium", "calcium", 6.5, 11.0, "mg/dL", 1),
        ),
    ),
    _Calculator(
        name="Estimated due date",
        explain=add_40_weeks_explanation,
        asks="estimated due date by Naegele's rule",
        kind="date",
        inputs=(_LMP, _Count("cycle_length", "cycle of {} days", 28, 34)),
        ages=(18, 42),
        sexes=("Female",),
    ),
    _Calculator(
        name="Fractional excretion of sodium",
        explain=compute_fena_explanation,
        asks="fractional excretion of sodium (FENa) in %",
        kind="decimal",
        inputs=(
            _SODIUM,
            _CREATININE,
            _Quantity("urine_sodium", "urine sodium", 10, 90, "mEq/L"),
            _Quantity("urine_creatinine", "urine creatinine", 20, 150, "mg/dL"),
        ),
    ),
    _Calculator(
        name="HOMA-IR",
        explain=compute_homa_ir_explanation,
        asks="HOMA-IR",
        kind="decimal",
        inputs=(_Quantity("insulin", "insulin", 3, 40, "µIU/mL"), _GLUCOSE),
    ),
    _Calculator(
        name="CHA2DS2-VASc",
        explain=generate_cha2ds2_vasc_explanation,
        asks="CHA2DS2-VASc score",
        kind="integer",
        inputs=(
            _Finding("chf", "heart failure"),
            _HYPERTENSION,
            _STROKE,
            _Finding("vascular_disease", "vascular disease"),
            _Finding("diabetes", "diabetes"),
        ),
        patient=("age", "sex"),
    ),
    _Calculator(
        name="LDL cholesterol",
        explain=compute_ldl_explanation,
        asks="LDL cholesterol in mg/dL",
        kind="decimal",
        inputs=(
            _Quantity("total_cholestrol", "total cholesterol", 180, 300, "mg/dL"),
            _Quantity("hdl_cholestrol", "HDL", 30, 80, "mg/dL"),
            _Quantity("triglycerides", "triglycerides", 60, 380, "mg/dL"),
        ),
    ),
    _Calculator(
        name="Maintenance fluid",
        explain=maintenance_fluid_explanation,
        asks="hourly maintenance fluid in mL/hr",
        kind="decimal",
        inputs=(_Quantity("weight", "weight", 7, 20, "kg", 1),),
        ages=(1, 5),
    ),
    _Calculator(
        name="Mean arterial pressure",
        explain=mean_arterial_pressure_explanation,
        asks="mean arterial pressure in mm Hg",
        kind="decimal",
        inputs=(_SYSTOLIC, _DIASTOLIC),
    ),
    _Calculator(
        name="Conception date",
        explain=add_2_weeks_explanation,
        asks="estimated date of conception",
        kind="date",
        inputs=(_LMP,),
        ages=(18, 42),
        sexes=("Female",),
    ),
    _Calculator(
        name="HAS-BLED",
        explain=compute_has_bled_score_explanation,
        asks="HAS-BLED score",
        kind="integer",
        inputs=(
            _Count("alcoholic_drinks", "{} drinks a week", 0, 12),
            _HYPERTENSION,
            _STROKE,
            _Finding("prior_bleeding", "prior bleeding"),
            _Finding("labile_inr", "labile INR"),
        ),
        patient=("age",),
    ),
    _Calculator(
        name="QTc (Rautaharju)",
        explain=rautaharju_calculator_explanation,
        asks="corrected QT interval by the Rautaharju formula in msec",
        kind="decimal",
        inputs=(_HEART_RATE, _QT),
    ),
    _Calculator(
        name="Corrected sodium",
        explain=compute_sodium_correction_hyperglycemia_explanation,
        asks="sodium corrected for hyperglycemia in mEq/L",
        kind="decimal",
        inputs=(_SODIUM, _Quantity("glucose", "glucose", 110, 600, "mg/dL")),
    ),
)

_NOTES = (
    "{Patient} with {past} is seen in clinic. Findings: {facts}.",
    "Admission note: {patient}. History: {past}. On arrival: {facts}.",
    "{Patient} comes for a visit. Past: {past}. Recorded: {facts}.",
    "Findings in {patient} (history: {past}): {facts}.",
)

_PASTS = ("migraine", "eczema", "hay fever", "a wrist fracture", "penicillin allergy", "psoriasis", "shingles")

# Facts that no calculator above uses.
_ASIDES = (
    _Quantity("potassium", "potassium", 3.5, 5.0, "mmol/L", 1),
    _Quantity("hemoglobin", "hemoglobin", 11.0, 16.5, "g/dL", 1),
    _Quantity("temperature", "temperature", 36.1, 37.4, "°C", 1),
    _Quantity("platelets", "platelets", 160, 390, "10^9/L"),
    _Quantity("oxygen", "SpO2", 94, 100, "%"),
)

_FORMS: dict[Kind, str] = {"decimal": "<number>", "integer": "<whole number>", "date": "<MM/DD/YYYY>"}

# A step that computes ("= 1.7 m", but not the "= +1 point" of a criteria list) or moves a date.
_STEP = re.compile(r"= -?[0-9.]+\b(?! points?)|\bdate after adding|\bcycle length is [0-9]")
_MAX_STEPS = 4  # Longer workings are drawn again, so that a response stays under 170 tokens.
_TRIES = 1000


def _example(split: Split, index: int, seed: int, seen: set[str]) -> Example:
    """Draws the example of that index; `seen` holds the questions before it and gets this one."""
    rng = random.Random(f"{seed}-{split}-{index}")
    calculator = _CALCULATORS[index % len(_CALCULATORS)]
    for _ in range(_TRIES):
        inputs = _inputs(calculator, rng)
        question = _question(calculator, inputs, rng)
        if _split(calculator, inputs) != split or question in seen:
            continue
        worked = calculator.explain({key: inputs[key] for key in _used(calculator)})
        steps = _steps(worked["Explanation"])
        if len(steps) > _MAX_STEPS:
            continue
        seen.add(question)
        value = worked["Answer"]
        lower, upper = limits(value, calculator.kind)
        return Example(
            id=f"{split}-{index:05d}",
            messages=({"role": "user", "content": question},),
            response="\n".join([*steps, f"Answer: {value}"]),
            answer={
                "calculator": calculator.name,
                "kind": calculator.kind,
                "value": value,
                "lower": lower,
                "upper": upper,
            },
        )
    raise ValueError(f"{MedCalcMini.name} has no new {calculator.name} question; ask for at most {index} examples")


def _inputs(calculator: _Calculator, rng: random.Random) -> dict[str, Any]:
    patient = {"age": (rng.randint(*calculator.ages), "years"), "sex": rng.choice(calculator.sexes)}
    return patient | {i.key: i.draw(rng) for i in calculator.inputs}


def _used(calculator: _Calculator) -> tuple[str, ...]:
    return (*calculator.patient, *(i.key for i in calculator.inputs))


def _split(calculator: _Calculator, inputs: Mapping[str, Any]) -> Split:
    """The split these inputs belong to in every draw."""
    canonical = json.dumps([calculator.name, [[key, inputs[key]] for key in sorted(_used(calculator))]])
    return "test" if hashlib.sha256(canonical.encode()).digest()[0] % 4 == 0 else "train"


def _question(calculator: _Calculator, inputs: Mapping[str, Any], rng: random.Random) -> str:
    facts = [i.tell(inputs[i.key]) for i in calculator.inputs]
    if rng.random() < 0.6:
        aside = rng.choice(_ASIDES)
        facts.append(aside.tell(aside.draw(rng)))
    rng.shuffle(facts)
    patient = _patient(inputs["age"][0], inputs["sex"])
    note = rng.choice(_NOTES).format(
        patient=patient,
        Patient=patient.capitalize(),
        past=rng.choice(_PASTS),
        facts=", ".join(facts),
    )
    return (
        f"{note}\nWhat is the patient's {calculator.asks}? "
        f"Reason, then end with a line `Answer: {_FORMS[calculator.kind]}`."
    )


def _patient(age: int, sex: str) -> str:
    article = "an" if age == 18 or age in range(80, 90) else "a"
    adult, child = {"Female": ("woman", "girl"), "Male": ("man", "boy")}[sex]
    return f"{article} {age}-year-old {adult if age >= 18 else child}"


def _steps(explanation: str) -> list[str]:
    """The sentences of a worked explanation that compute something, and the conclusion."""
    sentences = [" ".join(s.split()) for s in re.split(r"(?<=\.)\s+|\n", explanation) if s.strip()]
    return [s for s in sentences[:-1] if _STEP.search(s)] + sentences[-1:]

"""Will this hotel booking be cancelled?

Data: Hotel booking demand, hotel H1 (Antonio, de Almeida and Nunes, Data in Brief 22, 2019), CC BY 4.0.
40,060 bookings of a resort hotel; the outcome comes with a cancellation, a no-show or the check-out, from the
booking day itself up to 737 days later. Two tasks ask two questions of the same bookings.
"""

from datetime import timedelta

from river import compose, linear_model, optim, preprocessing, tree

from schemas import Category, Dictionary, Integer
from streams import DataFile, DefaultAtHorizon, Model, OnArrival, Select, Task, millis

NUMBERS = (
    Integer(name="LeadTime", unit="days", low=0, high=800, purpose="booking to arrival"),
    Integer(name="StaysInWeekendNights", unit="nights", low=0, high=30),
    Integer(name="StaysInWeekNights", unit="nights", low=0, high=60),
    Integer(name="Adults", unit="guests", low=0, high=60),
    Integer(name="Children", unit="guests", low=0, high=12, missing=0),
    Integer(name="Babies", unit="guests", low=0, high=12),
    Integer(name="IsRepeatedGuest", unit="0 or 1", low=0, high=1),
    Integer(name="PreviousCancellations", unit="bookings", low=0, high=100),
    Integer(name="PreviousBookingsNotCanceled", unit="bookings", low=0, high=100),
    Integer(name="TotalOfSpecialRequests", unit="requests", low=0, high=10),
)
CATEGORIES = (
    Category(name="ArrivalDateMonth", missing="NA"),  # moves with the calendar: known after a year
    Category(name="Meal", missing="NA", levels=("BB", "FB", "HB", "SC", "Undefined")),
    Category(name="MarketSegment", missing="NA"),
    Category(name="DistributionChannel", missing="NA"),
    Category(name="ReservedRoomType", missing="NA", purpose="room as booked, not as given"),
    Category(name="DepositType", missing="NA", levels=("No Deposit", "Non Refund", "Refundable")),
    Category(name="Agent", missing="NA", purpose="travel agency, pseudonymous; new ones keep coming"),
    Category(name="Company", missing="NA", purpose="company that pays, pseudonymous"),
    Category(name="CustomerType", missing="NA"),
)
number_names = [feature.name for feature in NUMBERS]
category_names = [feature.name for feature in CATEGORIES]


def logistic_regression(learning_rate):
    scaled = Select(*number_names) | preprocessing.StandardScaler()
    encoded = Select(*category_names) | preprocessing.OneHotEncoder()
    return compose.Pipeline(scaled + encoded, linear_model.LogisticRegression(optim.SGD(learning_rate)))


def hoeffding_tree(max_depth):
    return tree.HoeffdingTreeClassifier(nominal_attributes=category_names, max_depth=max_depth)


def any_outcome(row):
    """Cancellations, no-shows and check-outs all report, on the day on which they happen."""
    return millis(row["ReservationStatusDate"]), row["IsCanceled"] == "1"


def cancellations_only(row):
    """Only cancellations and no-shows report; silence means that the booking still stands."""
    return any_outcome(row) if row["IsCanceled"] == "1" else None


def models(policy):
    return (
        Model("lr", logistic_regression, {"learning_rate": 0.01}, policy),
        # Without a depth of its own, River takes one from the interpreter's recursion limit.
        Model("ht", hoeffding_tree, {"max_depth": 100}, policy),
    )


cancellation = Task(
    name="hotel-cancellation",
    question="Will this booking be cancelled, whenever that may be?",
    features=Dictionary(*NUMBERS, *CATEGORIES),
    horizon=timedelta(days=800),
    models=models(OnArrival()),
    data=DataFile(
        path="hotel_h1_resort.csv.gz",
        request_id="row",
        ts="booking_date",
        timezone="UTC",
        outcome=any_outcome,
    ),
)

cancellation_within_30_days = Task(
    name="hotel-cancellation-30d",
    question="Will this booking be cancelled within 30 days of being made?",
    features=Dictionary(*NUMBERS, *CATEGORIES),
    horizon=timedelta(days=30),
    revision_horizon=timedelta(days=800),
    models=models(DefaultAtHorizon(False)),
    data=DataFile(
        path="hotel_h1_resort.csv.gz",
        request_id="row",
        ts="booking_date",
        timezone="UTC",
        outcome=cancellations_only,
    ),
)

"""From the deploy bundle to the HEF: numpy and the standard library only, so that it runs beside the vendor's
SDK.
"""
